"""The users file as the supervisor sees it: something to open and hand on, never to read."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

from forksocks.access.users import Shortage, open_users
from forksocks.host.sandbox.privileges import Identity, owners

EVERY = 1.0  # seconds between two looks whether the file has changed


class UsersWatch:
    """Opens the users file for the lookup agent, at its birth and after every change."""

    def __init__(self, path: Path | None, identity: Identity | None = None) -> None:
        self._path = path
        self._owners = owners(identity)
        self._seen: tuple[int, ...] | None = None
        self._due = 0.0

    def open(self) -> int | None:
        """Open the file as it is now; None if there is none to open. Raises UsersError."""
        if self._path is None:
            return None
        self._seen = _signature(self._path)
        try:
            return open_users(self._path, self._owners)
        except Shortage:
            self.forget()
            raise

    def open_changed(self) -> int | None:
        """Open the file if it is another one than last time; looks once in EVERY. Raises UsersError."""
        now = monotonic()
        if self._path is None or now < self._due:
            return None
        self._due = now + EVERY
        return None if _signature(self._path) == self._seen else self.open()

    def forget(self) -> None:
        """What was opened last reached nobody: the file has changed for whoever is to have it."""
        self._seen = None


def _signature(path: Path) -> tuple[int, ...] | None:
    """What changes whenever the file does; None while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
