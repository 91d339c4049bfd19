"""Fuzz: `python -m tests.fuzz [--seed N] [SECONDS] [TARGET ...]`, each target for so many seconds (20).

With atheris installed (pip install 'forksocks[fuzz]') it does the work, else `engine`. An input that fails is
written to the working directory, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

from tests.fuzz import engine
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
GUIDED = """\
import sys, atheris
with atheris.instrument_imports(include=["forksocks"]):
    from tests.fuzz.targets import TARGETS
target = TARGETS[sys.argv.pop(1)]
atheris.Setup(sys.argv, target)
atheris.Fuzz()
"""


def corpus(name: str) -> list[bytes]:
    """The inputs that a target begins with."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def run_atheris(name: str, seconds: float, seed: int) -> bool:
    """One target with atheris, in a process of its own, which it always ends; False for a finding."""
    with tempfile.TemporaryDirectory() as new:
        words = [sys.executable, "-c", GUIDED, name, f"-max_total_time={int(seconds)}", f"-seed={seed}"]
        words += ["-max_len=2048", "-print_final_stats=1", "-verbosity=1", new, str(CORPUS / name)]
        return subprocess.run(words, check=False).returncode == 0


def run_engine(name: str, seconds: float, seed: int) -> bool:
    """One target with our own engine; False for a finding."""
    report = engine.fuzz(TARGETS[name], corpus(name), seconds, seed)
    did = f"{report.executions} executions, {len(report.edges)} edges, {report.kept} inputs kept"
    print(f"{name}: {did}, seed {seed}", flush=True)
    if report.failing is None:
        return True
    path = Path(f"finding-{name}-{hashlib.sha1(report.failing, usedforsecurity=False).hexdigest()[:12]}")
    path.write_bytes(report.failing)
    traceback.print_exception(report.error)
    print(f"{name}: {path} has the input: {report.failing!r}")
    return False


def main() -> int:
    """Fuzz what was asked for."""
    parser = argparse.ArgumentParser(prog="tests/fuzz/run", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=20.0)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seed", type=int, default=1)
    found = parser.parse_args()
    unknown = set(found.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    run = run_atheris if importlib.util.find_spec("atheris") else run_engine
    passed = [run(name, found.seconds, found.seed) for name in found.targets or TARGETS]
    return 0 if all(passed) else 1


sys.exit(main())
