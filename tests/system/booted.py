"""A machine that begins servers by init scripts: the scripts and their folders are its own, nothing else is.

Every command runs in a mount namespace of its own (in a new user namespace too, so that no privilege is
needed), where /run and whatever else is named is a folder of the test.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.system import processes
from tests.system.processes import LONG, eventually
from tests.system.server import endpoint, environment, parse

PACKAGING = Path(__file__).parents[2] / "packaging"
PROGRAMS = Path(sys.executable).parent
CONFIGURATION = """\
[server]
workers = 1
drain = "20s"
{more}
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[admin]
socket = "{run}/forksocks/admin.sock"
[log]
to = "file:{log}"
level = "info"
"""


class Booted:
    """One such machine.

    script: what begins the server, in the machine's own folder. mounts: what stands where, beside /run.
    """

    def __init__(
        self, files: Path, script: str, words: tuple[str, ...] = (), mounts: Mapping[str, str] | None = None
    ) -> None:
        self.files = files
        self.script = files / script
        self._words = words
        self.name = "forksocks"
        self.run = files / "run"
        self.run.mkdir()  # empty, as after a boot: the script makes what it needs there
        self._mounts = {"/run": self.run} | {where: files / what for where, what in (mounts or {}).items()}
        self.config = files / "forksocks.toml"
        self.log = files / "log"
        self.script.parent.mkdir(parents=True)
        self.configure()

    def configure(self, more: str = "", run: str = "/run") -> None:
        """Write a configuration, with lines for [server]."""
        self.config.write_text(CONFIGURATION.format(more=more, log=self.log, run=run))

    def install(self, text: str) -> None:
        """Put the script there."""
        self.script.write_text(text)
        self.script.chmod(0o755)

    def do(self, *verb: str) -> tuple[int, str]:
        """Run the script; return its exit status and what it said."""
        mounts = [f"mount --bind {shlex.quote(str(what))} {where}" for where, what in self._mounts.items()]
        inside = " && ".join([*mounts, shlex.join([str(self.script), *self._words, *verb])])
        done = subprocess.run(
            ["unshare", "-rm", "--propagation", "private", "sh", "-c", inside],
            cwd="/", env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=2 * LONG, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    @property
    def pid(self) -> int:
        """Whose number the pid file has; 0 without one."""
        try:
            return int((self.run / f"{self.name}.pid").read_text())
        except FileNotFoundError:
            return 0

    @property
    def address(self) -> tuple[str, int]:
        """Where the newest server listens."""
        return endpoint(self.said("started")[-1]["listen"])

    def said(self, event: str) -> list[dict[str, str]]:
        """The lines of an event in the log."""
        lines = map(parse, self.log.read_text().splitlines()) if self.log.exists() else ()
        return [line for line in lines if line.get("event") == event]

    def generation(self) -> int:
        """The newest workers' generation."""
        return max((each for each, _ in processes.workers(self.pid)), default=0)

    def end(self) -> None:
        """End the server, whatever it is doing, and one that still drains after an upgrade."""
        for ending in ("pid", "pid.old"):
            path = self.run / f"{self.name}.{ending}"
            pid = int(path.read_text()) if path.exists() else 0
            if pid and processes.is_alive(pid):
                os.kill(pid, signal.SIGQUIT)
                assert eventually(functools.partial(_has_ended, pid))


def _has_ended(pid: int) -> bool:
    return not processes.is_alive(pid)


@contextlib.contextmanager
def booting(made: Booted) -> Iterator[Booted]:
    """End what it runs; show the log of a failed test."""
    try:
        yield made
    except BaseException:
        print(made.log.read_text() if made.log.exists() else "no log")
        raise
    finally:
        made.end()


def done(made: Booted, *verb: str) -> str:
    """What the script says, which must succeed."""
    status, said = made.do(*verb)
    assert status == 0, f"{verb}: exit status {status}: {said}"
    return said


def refused(made: Booted, *verb: str) -> str:
    """What the script says, which must fail."""
    status, said = made.do(*verb)
    assert status != 0, f"{verb} was to fail: {said}"
    return said
