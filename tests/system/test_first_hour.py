"""README's first hour of an administrator: its very commands, one after the other."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from tests.system import processes
from tests.system.booted import PROGRAMS
from tests.system.processes import LONG, eventually
from tests.system.server import ROOT, environment


def commands() -> str:
    """The block of the section, without its margin."""
    section = (ROOT / "README.md").read_text().partition("\n## The first hour\n")[2].partition("\n## ")[0]
    lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    assert len(lines) > 20
    return "\n".join(lines) + "\n"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_every_command_of_it_works(tmp_path: Path) -> None:
    script = commands().replace("127.0.0.1:1080", f"127.0.0.1:{free_port()}")
    if os.geteuid() == 0:  # a folder of the test's is not nobody's to write to
        script = script.replace("--daemon", "--user root --daemon")
    pidfile = tmp_path / "pid"
    try:
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script], cwd=tmp_path, text=True,
            env=environment() | {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"}, timeout=3 * LONG, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        for said in ("ok: ", "decision: allow", "did you mean", "reloaded: generation", "upgraded: process"):
            assert said in done.stdout, f"{said}: {done.stdout}"
        assert eventually(lambda: not pidfile.exists())
        assert re.search("^.* stopped$", (tmp_path / "forksocks.log").read_text(), re.MULTILINE)
    finally:
        if pidfile.exists():
            pid = int(pidfile.read_text())
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
            assert eventually(lambda: not processes.is_alive(pid))
