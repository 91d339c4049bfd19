"""What the lockout knows, kept over a restart in a small file (`file` in [auth] lockout).

The lookup agent decides who is banned, and has no file that it may write; all that it knows is on a page of
memory. From there the supervisor copies it to the file, at most once in EVERY and at the end; what is in the
file at the start it puts on the first page. It understands none of it: a digest says whether it is whole.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection
from hashlib import blake2b
from pathlib import Path
from time import monotonic

from forksocks.access.users import UsersError, check_hands, shown
from forksocks.host.files import SYMLINK, temporary
from forksocks.host.log import Log
from forksocks.host.scoreboard.page import Page

EVERY = 5.0  # seconds between two times that the file is written
FORM = b"forksocks bans 1\n"
DIGEST = 32  # bytes
LARGEST = 8 << 20  # bytes: a page of bans has half as many


class Unsafe(Exception):
    """A file that is neither read nor replaced; the text says why, and how to mend it."""


class Spoilt(Exception):
    """A file that is not what we have written; the text says what is wrong with it."""


class KeptBans:
    """The file of one server. Main thread only.

    owners: the accounts that it, and the directory that it is in, may belong to. log: where what is wrong is
    said, once.
    """

    def __init__(self, owners: Collection[int], log: Callable[[], Log]) -> None:
        self._owners = owners
        self._log = log
        self._path: Path | None = None
        self._kept = b""
        self._due = 0.0
        self._said = ""

    def restore(self, path: Path | None, page: Page) -> None:
        """Put what was kept on a page that nobody has written yet."""
        kept = self._find(path)
        if kept and len(kept) <= page.room:
            page.write(kept)
            self._log().notice("bans-read", file=str(path))

    def look(self, path: Path | None, page: Page) -> None:
        """Keep what has changed, if it is time to."""
        if path is not None and monotonic() >= self._due:
            self.save(path, page)

    def save(self, path: Path | None, page: Page) -> None:
        """Keep what has changed. What does not work is said in the log, and tried again by `look`."""
        self._due = monotonic() + EVERY
        known = page.read()
        if path is None or not known:
            return
        if path != self._path:
            self._find(path)
        if known == self._kept:
            return
        try:
            _check(path, self._owners)
            _replace(path, FORM + _digest(known) + known)
        except (OSError, Unsafe) as error:
            self._say("bans-not-kept", path, error)
        else:
            self._kept, self._said = known, ""

    def _find(self, path: Path | None) -> bytes:
        """What the file has; what is not ours is set aside, so that nothing replaces it."""
        self._path, self._kept = path, b""
        if path is None:
            return b""
        try:
            if _check(path, self._owners):
                self._kept = _read(path)
        except Spoilt as error:
            aside = path.with_name(f"{path.name}.bad")
            with contextlib.suppress(OSError):
                path.rename(aside)
            self._say("bans-not-read", path, error, str(aside))
        except (OSError, Unsafe) as error:
            self._say("bans-not-read", path, error)
        return self._kept

    def _say(self, event: str, path: Path, error: Exception, aside: str | None = None) -> None:
        text = _words(error)
        if text != self._said:
            self._said = text
            self._log().error(event, file=str(path), error=text, aside=aside)


def objection(path: Path, owners: Collection[int]) -> str | None:
    """What is wrong with the file or its place, if anything, for who has not started a server yet."""
    try:
        if _check(path, owners):
            _read(path)
    except (OSError, Unsafe, Spoilt) as error:
        return _words(error)
    return None


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _check(path: Path, owners: Collection[int]) -> bool:
    """Whether there is a file. Unsafe if another account could change it, or it is no file at all."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        status = None
    if status is not None and not stat.S_ISREG(status.st_mode):
        what = "is a symbolic link" if stat.S_ISLNK(status.st_mode) else "is not a regular file"
        raise Unsafe(f"{what}: name another file")
    if status is not None and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Unsafe(f"others can write it; to mend this: chmod go-w {shown(path)}")
    try:
        check_hands(status, path, owners)
    except UsersError as error:
        raise Unsafe(str(error)) from None
    return status is not None


def _read(path: Path) -> bytes:
    """What `_replace` wrote there. Raises OSError and Spoilt."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Unsafe("is a symbolic link: name another file") if error.errno in SYMLINK else error from None
    with open(descriptor, "rb") as file:
        raw = file.read(LARGEST + 1)
    digest, known = raw[len(FORM) : len(FORM) + DIGEST], raw[len(FORM) + DIGEST :]
    if not raw.startswith(FORM):
        raise Spoilt("is no file of bans, or another version's")
    if len(raw) > LARGEST or digest != _digest(known):
        raise Spoilt("is not whole, or was changed")
    return known


def _replace(path: Path, data: bytes) -> None:
    """Put it in the place of whatever is there: always the old or the new one, whole.

    Not synced: the supervisor's loop does not wait for a disk, and after a power cut the digest tells.
    """
    with temporary(path.parent, f".{path.name}-") as (descriptor, name):
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        os.rename(name, path)


def _digest(known: bytes) -> bytes:
    return blake2b(known, digest_size=DIGEST).digest()
