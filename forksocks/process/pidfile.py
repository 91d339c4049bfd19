"""The pid file: one running server, and its number for those that want to signal it.

The number is for others; we believe none that we read and signal nobody. What says whether a server runs is a
lock on the file that ends with the process. It is a lock of fcntl(2), not of flock(2): flock's belongs to the
open file, so draining workers of a killed supervisor would hold it for minutes, while this one is never
inherited by a child.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

# A symbolic link, a FIFO or a device under the name must neither lead elsewhere nor block (open(2)).
_SAFELY = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ATTEMPTS = 10


class PidFileError(Exception):
    """The file cannot be made ours; the text says why and what to do."""


class PidFile:
    """One pid file, which is ours from `take` until `remove`, or until we give it away.

    A program that has handed over to another one goes by FILE.old, so that it can still be found.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = path
        self._descriptor: int | None = None
        self._owner = os.getpid()

    def take(self) -> None:
        """Make it ours; raises PidFileError."""
        self._owner = os.getpid()
        self._descriptor = _take(self._path)
        self._held = self._path

    def give_to(self, pid: int) -> None:
        """Let another process take it, whose number it has from now on."""
        if self._descriptor is None:
            return
        with contextlib.suppress(OSError):
            _write(self._descriptor, pid)
        os.close(self._descriptor)  # and with it the lock
        self._descriptor = None
        old = self._path.with_name(f"{self._path.name}.old")
        with contextlib.suppress(PidFileError):
            self._descriptor = _take(old)
            self._held = old

    def take_back(self) -> None:
        """The other one has ended: make the file ours again; raises PidFileError."""
        self.remove()
        self.take()

    def remove(self) -> None:
        """Let go of it and remove it; a child that was forked meanwhile neither holds nor removes it."""
        if self._descriptor is None:
            return
        if os.getpid() == self._owner:
            # After privileges were dropped the directory may be closed to us.
            with contextlib.suppress(OSError):
                if _is_at(self._descriptor, self._held):
                    self._held.unlink()
        os.close(self._descriptor)
        self._descriptor = None


@contextlib.contextmanager
def held(path: Path) -> Iterator[PidFile]:
    """Hold a pid file for the life of the block; raises PidFileError."""
    file = PidFile(path)
    file.take()
    try:
        yield file
    finally:
        file.remove()


def _take(path: Path) -> int:
    try:
        _check_directory(path)
        for _ in range(_ATTEMPTS):  # another server may remove its file between our open and our lock
            fd = _open(path)
            try:
                _lock(fd, path)
                if _is_at(fd, path):
                    _write(fd, os.getpid())
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
    except OSError as error:
        why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise PidFileError(f"pid file {path}: {why}") from None
    raise PidFileError(f"pid file {path}: others keep replacing it")


def _check_directory(path: Path) -> None:
    """Root writes only where nobody else can put something in its way."""
    if os.geteuid() != 0:
        return
    found = path.parent.stat()
    if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PidFileError(
            f"pid file {path}: {path.parent} can be written by others than root; use a directory as /run"
        )


def _open(path: Path) -> int:
    """A new file, or the one that is there."""
    with contextlib.suppress(FileExistsError):
        return os.open(path, _SAFELY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        return os.open(path, _SAFELY)
    except FileNotFoundError:  # removed in between
        return os.open(path, _SAFELY | os.O_CREAT | os.O_EXCL, 0o600)


def _lock(fd: int, path: Path) -> None:
    """Lock it, or say who has it; a file that is no pid file of ours is left alone."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise PidFileError(f"pid file {path}: exists and is not a regular file")
    if found.st_uid != os.geteuid() or found.st_nlink > 1:
        raise PidFileError(f"pid file {path}: exists and is not only ours; remove it if no server uses it")
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # fcntl(2) allows either errno
        number = _number(fd)
        who = f"process {number}" if number else "another process"
        raise PidFileError(f"pid file {path}: held by {who}, which is running already") from None
    if _number(fd) is None:
        raise PidFileError(f"pid file {path}: exists and holds no process number; is it another file?")


def _number(fd: int) -> str | None:
    """What stands in it: "" when nothing does, None when it is no number."""
    content = os.pread(fd, 64, 0)
    return content.decode().strip() if re.fullmatch(rb"[0-9]{0,19}\s*", content) else None


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _write(fd: int, pid: int) -> None:
    os.fchmod(fd, 0o644)  # whatever the umask: the number is for others
    number = f"{pid}\n".encode()
    os.pwrite(fd, number, 0)  # before what is too much is cut off: at no time it is empty
    os.ftruncate(fd, len(number))
