"""Runs programs of the machine, in an environment of their own and within a limit of time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.system.server import ROOT, environment

LIMIT = 100.0  # seconds; pytest would end the test soon after


class Done:
    """A program that has ended: its exit status and what it wrote."""

    def __init__(self, command: Sequence[str], status: int, out: bytes, err: bytes) -> None:
        self.command = command
        self.status = status
        self.out = out
        self.err = err

    def __str__(self) -> str:
        words = " ".join(self.command)
        return f"{words}\nexit status {self.status}\n{self.out[-2000:].decode(errors='replace')}" + (
            self.err[-4000:].decode(errors="replace")
        )


def run(
    *command: str,
    text: bytes = b"",
    status: int | None = 0,
    cwd: Path | None = None,
    extra: Mapping[str, str] | None = None,
    limit: float = LIMIT,
) -> Done:
    """Run a program to its end; AssertionError if its exit status is not `status` (None: any).

    extra: further variables of its environment. After `limit` seconds it is killed. Whatever it leaves
    running ends with it.
    """
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd,
        env={**environment(), **(extra or {})}, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(text, limit)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    done = Done(command, process.returncode, out, err)
    assert status is None or done.status == status, str(done)
    return done


def ctl(folder: Path, *words: str, status: int | None = 0) -> Done:
    """Run `forksocksctl` with the server whose admin socket is in `folder`; status as in `run`."""
    command = (sys.executable, "-m", "forksocks.ctl", *words, "--socket", str(folder / "admin.sock"))
    return run(*command, status=status, cwd=ROOT)


def objects(folder: Path, *words: str) -> list[dict[str, Any]]:
    """What `forksocksctl` prints with --json, an object a line."""
    return [json.loads(line) for line in ctl(folder, *words, "--json").out.splitlines()]


def make_user(file: Path, name: str, password: str) -> None:
    """Write a user with forksocksctl."""
    run(
        sys.executable, "-m", "forksocks.ctl", "passwd", "--stdin", str(file), name,
        text=password.encode() + b"\n", cwd=ROOT,
    )  # fmt: skip


def home(folder: Path) -> Mapping[str, str]:
    """Variables that make `folder` the home of programs that keep files there."""
    folder.mkdir(exist_ok=True)
    runtime = folder / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    return {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PATH": os.environ["PATH"] + ":/usr/local/sbin:/usr/sbin:/sbin",  # where Debian keeps sshd
    }
