"""A server as a package installs it: started by a script, which may be another one the next time."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from tests.system import processes, server
from tests.system.processes import eventually
from tests.system.server import DEFAULTS, Server, started

# A program as an installed one is: a script that may be another one by the time it is started again.
SCRIPT = """#!{python}
import sys
{before}
import forksocks
forksocks.__version__ = "{version}"
from forksocks.cli import main
sys.exit(main())
"""
# Where another program than forksocks is to be tested (server.PROGRAM).
ELSEWHERE = f"sys.path.append({str(server.ROOT)!r})\nfrom tests.system import elsewhere\nelsewhere.go()"


class Installed:
    """A server started by a script that can be replaced; `files` holds all that it makes."""

    server: Server

    def __init__(self, files: Path) -> None:
        self.files = files
        self.script = files / "forksocks"
        self.pidfile = files / "pid"
        self.install("1")

    @classmethod
    @contextlib.contextmanager
    def started(
        cls, files: Path, binds: Sequence[str], flags: Sequence[str] = (), follow: Path | None = None
    ) -> Iterator[Self]:
        """Install and start it; see server.started."""
        made = cls(files)
        words = [str(made.script), "-v", "--pidfile", str(made.pidfile), *flags]
        words += [word for name, value in DEFAULTS.items() if name not in flags for word in (name, value)]
        words += ["--user", "root"] if os.geteuid() == 0 else []
        with started([*words, *binds], follow) as made.server:
            yield made

    def install(self, version: str, text: str = "") -> None:
        """Put another version, or another program, in its place."""
        new = self.files / "new"
        before = ELSEWHERE if server.PROGRAM != "forksocks" else ""
        new.write_text((text or SCRIPT).format(python=sys.executable, version=version, before=before))
        new.chmod(0o755)
        new.rename(self.script)

    @property
    def pid(self) -> int:
        """Who holds the pid file."""
        return int(self.pidfile.read_text())

    def upgrade(self) -> int:
        """Upgrade whoever holds the pid file and wait for it; return the new one's pid."""
        old = self.pid
        before = len(self.server.events("took-over"))
        os.kill(old, signal.SIGUSR2)
        assert eventually(lambda: len(self.server.events("took-over")) > before)
        new = int(self.server.events("took-over")[-1]["pid"])
        assert self.pid == new != old
        return new

    def fail(self, pid: int) -> str:
        """Ask for an upgrade that must fail; return why it did."""
        before = len(self.server.events("upgrade-failed"))
        os.kill(pid, signal.SIGUSR2)
        assert eventually(lambda: len(self.server.events("upgrade-failed")) > before)
        assert self.pid == pid, "the old one keeps the pid file"
        return str(self.server.events("upgrade-failed")[-1]["error"])

    def stop(self, pid: int, number: int = signal.SIGTERM) -> None:
        """End a server and see it gone."""
        os.kill(pid, number)
        assert eventually(lambda: not processes.is_alive(pid))
