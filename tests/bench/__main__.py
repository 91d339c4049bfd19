"""Compare forksocks with microsocks, dante and no proxy at all, on loopback, in one run.

Repeats are interleaved: each section is measured for every proxy before the next repeat begins, so that what
else the machine does falls on all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench import table
from tests.bench.generator import Generator, compile_all, origin
from tests.bench.measure import GB, ON_ONE_CPU, SECTIONS, Amounts, Bench
from tests.bench.proxies import COMMANDS, USUAL, BenchError, running

QUICK = Amounts(stream_bytes=GB, connection_seconds=1.0, ping_rounds=5000, tunnels=1000, datagram_seconds=1.0)


class Run:
    """All repeats of all sections for all proxies, and what they gave."""

    def __init__(self, proxies: list[str], sections: list[str], amounts: Amounts) -> None:
        self.proxies = proxies
        self.sections = sections
        self.amounts = amounts
        self.samples: dict[str, dict[str, list[float]]] = {}
        self.failures: list[str] = []
        self.descriptors = raise_descriptor_limit()

    def repeat(self, times: int) -> None:
        """Measure everything `times` times; a failure is noted and the rest goes on."""
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="forksocks-bench-")))
            load, far_end = compile_all(scratch)
            for number in range(1, times + 1):
                for section in self.sections:
                    for proxy in self.proxies:
                        progress(f"repeat {number}/{times}: {section}, {proxy}")
                        try:
                            self.measure(section, proxy, scratch, load, far_end)
                        except BenchError as error:
                            self.failures.append(f"repeat {number}, {section}, {proxy}: {error}")
            progress("")

    def measure(self, section: str, proxy: str, scratch: Path, load: Path, far_end: Path) -> None:
        """One section of one proxy, both it and the origin fresh."""
        with (
            affinity(section in ON_ONE_CPU),
            origin(far_end) as origin_port,
            running(proxy, scratch) as process,
        ):
            generator = Generator(load, process.port, origin_port)
            bench = Bench(process, generator, self.amounts, self.descriptors, scratch)
            for figure, value in SECTIONS[section](bench).items():
                self.samples.setdefault(figure, {}).setdefault(proxy, []).append(value)


@contextmanager
def affinity(one_cpu: bool) -> Iterator[None]:
    """Keep this process, and what it starts meanwhile, on a single CPU."""
    all_cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(all_cpus)} if one_cpu else all_cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_cpus)


def raise_descriptor_limit() -> int:
    """Let this process and its children open what the hard limit allows; returns how many descriptors."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def progress(text: str) -> None:
    """What is being measured, on one line that is written over; nothing unless a person watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def machine() -> dict[str, object]:
    """What the figures depend on."""
    return {"kernel": platform.release(), "cpus": os.cpu_count(), "python": platform.python_version()}


def names(known: Collection[str]) -> Callable[[str], list[str]]:
    """A parser of comma-separated names out of `known`, for argparse."""

    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        for name in chosen:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return chosen

    return parse


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("--repeats", type=int, metavar="N", help="how often everything is measured (5)")
    parser.add_argument("--quick", action="store_true", help="two repeats of less of everything")
    parser.add_argument("--deep", action="store_true", help="10,000 idle tunnels instead of 5,000")
    parser.add_argument("--only", type=names(SECTIONS), default=list(SECTIONS), metavar="SECTION,...")
    parser.add_argument("--proxies", type=names(COMMANDS), default=USUAL, metavar="NAME,...")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every value there")
    return parser.parse_args()


def main() -> int:
    """Measure, print, and return 1 when something could not be measured. A floor missed is no failure."""
    arguments = parse_arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # through every `finally`: nothing is left running
    amounts = QUICK if arguments.quick else Amounts(tunnels=10_000 if arguments.deep else 5000)
    run = Run(arguments.proxies, arguments.only, amounts)
    repeats = arguments.repeats or (2 if arguments.quick else 5)
    run.repeat(repeats)

    about = machine()
    print(", ".join(["medians", f"repeats {repeats}", *(f"{key} {value}" for key, value in about.items())]))
    print(table.render(run.samples, arguments.proxies))
    if arguments.json:
        everything = {"machine": about, "repeats": repeats, "samples": run.samples, "failures": run.failures}
        arguments.json.write_text(json.dumps(everything, indent=2) + "\n")
    for failure in run.failures:
        print(f"not measured: {failure}", file=sys.stderr)
    return 1 if run.failures else 0


sys.exit(main())
