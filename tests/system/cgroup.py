"""Control groups of our own, where this machine lets us make one (cgroups(7)); version 1 and version 2.

A group has a limit that the kernel enforces on all its processes together. It is removed at the end.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.system.processes import eventually

ROOT = Path("/sys/fs/cgroup")
# Which file holds the limit of a controller, in version 1 and in version 2.
LIMITS: Mapping[str, tuple[str, str]] = {
    "pids": ("pids.max", "pids.max"),
    "memory": ("memory.limit_in_bytes", "memory.max"),
}
USED: Mapping[str, tuple[str, str]] = {
    "pids": ("pids.current", "pids.current"),
    "memory": ("memory.usage_in_bytes", "memory.current"),
}


class Group:
    """One group with one limit."""

    def __init__(self, path: Path, controller: str, unified: bool) -> None:
        self.path = path
        self._limit = path / LIMITS[controller][unified]
        self._used = path / USED[controller][unified]

    @property
    def used(self) -> int:
        """What its processes have now: how many there are, threads counted, or bytes."""
        return int(self._used.read_text())

    def can_be_limited(self) -> bool:
        """Whether it is a group, and has the controller; a plain folder has no such file."""
        return os.access(self._limit, os.W_OK)

    def limit(self, most: int) -> None:
        """Let them have no more than that. Raises OSError if they have more already and cannot let go."""
        self._limit.write_text(str(most))

    @property
    def inside(self) -> list[str]:
        """Words before a command, which is then born in the group."""
        return ["sh", "-c", f'echo $$ >{self.path}/cgroup.procs && exec "$@"', "sh"]

    def is_empty(self) -> bool:
        """Whether no process is left in it, a dead one that nobody has reaped among them."""
        return not (self.path / "cgroup.procs").read_text()


@contextlib.contextmanager
def made(controller: str) -> Iterator[Group | None]:
    """A group until the block ends; None where this machine makes none for us."""
    group = _make(controller)
    try:
        yield group
    finally:
        if group is not None:
            assert eventually(group.is_empty), "processes left in the group"
            group.path.rmdir()


def _make(controller: str) -> Group | None:
    for parent, unified in ((ROOT / controller, False), (ROOT, True)):
        path = parent / f"forksocks-test-{os.getpid()}"
        with contextlib.suppress(OSError):
            path.mkdir()
            group = Group(path, controller, unified)
            if group.can_be_limited():
                return group
            path.rmdir()
    return None
