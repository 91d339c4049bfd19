"""The server under test: its configuration, its processes, and how it is started and ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from forksocks.process.children import describe_end
from tests.endurance.loads import PASSWORD, USER
from tests.system import processes
from tests.system.programs import make_user
from tests.system.server import Server, endpoint, parse

WORKERS, THREADS = 3, 128
HANG = 10.0
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
CONFIG = """
[server]
workers = {workers}
threads = {threads}
hang = "{hang:.0f}s"
drain = "5m"
pidfile = "{folder}/pid"
[[listen]]
bind = ["127.0.0.1:0"]
auth = ["password", "none"]
[access]
allow_from = ["@loopback"]
allow_to = ["@loopback"]
[auth]
users = "{folder}/users"
lockout = {{ failures = 0 }}
[timeouts]
idle = "2m"
half_closed = "30s"
[log]
to = "file:{folder}/log"
[admin]
socket = "{folder}/admin.sock"
"""


def adopt() -> None:
    """Be who orphans below us belong to, so that the last of several programs is our child in the end."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Target:
    """A running server; a context manager that ends it. `origin` is the port that loads go to."""

    def __init__(self, folder: Path, origin: int) -> None:
        adopt()
        self.origin = origin
        self._pidfile = folder / "pid"
        self.log = folder / "log"
        self.users = folder / "users"
        self.socket = folder / "admin.sock"
        make_user(self.users, USER.decode(), PASSWORD.decode())
        config = folder / "forksocks.toml"
        config.write_text(CONFIG.format(workers=WORKERS, threads=THREADS, hang=HANG, folder=folder))
        os.chmod(folder, 0o755)
        self.server = Server([sys.executable, "-m", "forksocks", "--config", str(config)], follow=self.log)
        self.server.wait_until_started()
        self.endpoint = endpoint(self.server.address)
        self.programs = [self.supervisor]  # one after the other, by SIGUSR2

    @property
    def supervisor(self) -> int:
        """The pid of the supervisor that serves."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(self._pidfile.read_text())
        return self.server.supervisor

    def workers(self) -> list[int]:
        """The workers that run now, draining ones too."""
        return [pid for pid in self.pids() if processes.title(pid).startswith("forksocks: worker")]

    def serving(self) -> list[int]:
        """The workers of the newest generation that drain not."""
        rows = processes.workers(self.supervisor)
        newest = max((generation for generation, _ in rows), default=0)
        found = [pid for (generation, _), pid in rows.items() if generation == newest]
        return [pid for pid in found if "draining" not in processes.title(pid)]

    def lookup(self) -> int:
        """The newest lookup agent; IndexError while there is none."""
        return self._called("lookup")[-1]

    def admin(self) -> int:
        """The newest admin process; IndexError while there is none."""
        return self._called("admin")[-1]

    def pids(self) -> list[int]:
        """All its processes, those of programs before it too."""
        first = self.server.supervisor
        return [*([first] if processes.is_alive(first) else []), *sorted(self.server.left())]

    def upgrade(self) -> bool:
        """Go over to the program anew; False if it did not take over."""
        before = self.supervisor
        os.kill(before, signal.SIGUSR2)
        if not processes.eventually(lambda: self.supervisor != before):
            return False
        self.programs.append(self.supervisor)
        return True

    def logs(self) -> list[Path]:
        """Its log, and what was moved away."""
        return sorted(self.log.parent.glob("log*"))

    def events(self, event: str, pid: int | None = None) -> list[dict[str, Any]]:
        """All log lines of an event, or those about a process."""
        lines = [
            parse(line) for path in self.logs() for line in path.read_text(errors="replace").splitlines()
        ]
        found = [line for line in lines if line.get("event") == event]
        return [line for line in found if pid is None or line.get("pid") == str(pid)]

    def _called(self, role: str) -> list[int]:
        children = processes.children(self.supervisor)
        return [pid for pid in children if processes.title(pid).startswith(f"forksocks: {role}")]

    def even(self) -> None:
        """As many workers as at the start."""
        for _ in range(WORKERS):
            missing = WORKERS - len(self.serving())
            if not missing:
                return
            os.kill(self.supervisor, signal.SIGTTIN if missing > 0 else signal.SIGTTOU)
            processes.eventually(partial(self._has_fewer_missing, abs(missing)))

    def _has_fewer_missing(self, missing: int) -> bool:
        return abs(WORKERS - len(self.serving())) < missing

    def stop(self) -> list[str]:
        """Drain and end; how its programs ended, those that were gone over from too."""
        os.kill(self.supervisor, signal.SIGTERM)
        first = self.server.process.wait(120)
        # Ours by adoption, once the one before has ended.
        return [f"exit status {first}", *map(self._how_it_ended, self.programs[1:])]

    def _how_it_ended(self, pid: int) -> str:
        try:
            return describe_end(os.waitpid(pid, 0)[1])
        except ChildProcessError:  # before the one before it, who has told
            return str(self.events("successor-ended", pid)[0]["how"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.server.kill()
