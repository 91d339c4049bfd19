"""The server under test: its configuration, its processes, and how it is started and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.endurance.loads import PASSWORD, USER
from tests.system import processes
from tests.system.programs import make_user
from tests.system.server import Server, endpoint, parse

WORKERS, THREADS = 3, 128
HANG = 5.0
CONFIG = """
[server]
workers = {workers}
threads = {threads}
hang = "{hang:.0f}s"
drain = "30s"
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


class Target:
    """A running server; a context manager that ends it. `origin` is the port that loads go to."""

    def __init__(self, folder: Path, origin: int) -> None:
        self.origin = origin
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

    @property
    def supervisor(self) -> int:
        """The supervisor's pid."""
        return self.server.supervisor

    def workers(self) -> list[int]:
        """The workers that run now."""
        return self._called("worker")

    def lookup(self) -> int:
        """The lookup agent; IndexError while there is none."""
        return self._called("lookup")[0]

    def admin(self) -> int:
        """The admin process; IndexError while there is none."""
        return self._called("admin")[0]

    def pids(self) -> list[int]:
        """All its processes."""
        return [self.supervisor, *processes.children(self.supervisor)]

    def logs(self) -> list[Path]:
        """Its log, and what was moved away."""
        return sorted(self.log.parent.glob("log*"))

    def events(self, event: str) -> list[dict[str, Any]]:
        """All log lines of an event."""
        lines = [
            parse(line) for path in self.logs() for line in path.read_text(errors="replace").splitlines()
        ]
        return [line for line in lines if line.get("event") == event]

    def _called(self, role: str) -> list[int]:
        children = processes.children(self.supervisor)
        return [pid for pid in children if processes.title(pid).startswith(f"forksocks: {role}")]

    def stop(self) -> int:
        """Drain and end; its exit status."""
        self.server.send_signal(signal.SIGTERM)
        return self.server.process.wait(120)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.server.kill()
