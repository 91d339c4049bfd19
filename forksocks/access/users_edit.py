"""Changes to the users file, each of them whole or not at all.

A new file takes the old one's place by rename, so that a reader sees the one or the other, and power may fail
at any moment. Comments, order, mode and owner stay. Writers wait for each other: the lock is on the file
itself, and whoever gets it looks whether the file has been replaced meanwhile. A file that would not be read
is not mended by writing over it.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from forksocks.access.users import (
    LARGEST_FILE,
    Line,
    UsersError,
    check_file,
    encoded_name,
    open_users,
    read_lines,
)
from forksocks.host.files import temporary

_PATIENCE = 10.0  # seconds to wait for another writer, who holds the lock for some milliseconds
_PAUSE = 0.02

Groups = tuple[str, ...]

_HELP: Mapping[int, str] = {
    errno.EACCES: "its directory has to be writable for you",
    errno.EPERM: "its owner and mode have to be kept; try as its owner or as root",
    errno.EBUSY: "it is a mount point; mount its directory in place of the file",
    errno.ENOENT: "its directory has to exist",
}


def put(path: Path, name: bytes, encoded: bytes, groups: Groups | None = None) -> bool:
    """Give a user a new hash, at the end of the file if new; True if the user was there before.

    groups: the user's from now on; None: those that it has. A missing file is made, readable for its owner
    alone. UsersError if anything prevents it.
    """
    with _locked(path, create=True) as fd:
        lines = read_lines(fd, str(path))
        before = _find(name, lines)
        line = written(name, encoded, (before.groups if before else ()) if groups is None else groups)
        kept = [line if each.name == name else each.raw for each in lines]
        if before is None:
            if kept and not kept[-1].endswith(b"\n"):
                kept.append(b"\n")
            kept.append(line)
        _replace(path, fd, b"".join(kept))
    return before is not None


def regroup(path: Path, name: bytes, groups: Groups) -> None:
    """Put a user into these groups and no others; UsersError if there is none of this name."""
    with _locked(path, create=False) as fd:
        lines = read_lines(fd, str(path))
        before = _find(name, lines)
        if before is None:
            raise UsersError(str(path), f'there is no user "{encoded_name(name)}"', _near(name, lines))
        line = written(name, before.encoded, groups)
        _replace(path, fd, b"".join(line if each is before else each.raw for each in lines))


def written(name: bytes, encoded: bytes, groups: Groups) -> bytes:
    """A user's line of the file."""
    end = f":{','.join(groups)}" if groups else ""
    return f"{encoded_name(name)}:".encode() + encoded + f"{end}\n".encode()


def delete(path: Path, name: bytes) -> None:
    """Take a user out; UsersError if there is none of this name, or anything else prevents it."""
    with _locked(path, create=False) as fd:
        lines = read_lines(fd, str(path))
        kept = [each.raw for each in lines if each.name != name]
        if len(kept) == len(lines):
            raise UsersError(str(path), f'there is no user "{encoded_name(name)}"', _near(name, lines))
        _replace(path, fd, b"".join(kept))


def users(path: Path) -> dict[bytes, Groups]:
    """The users, in the file's order, with their groups; UsersError if it is not accepted."""
    fd = open_users(path)
    try:
        return {line.name: line.groups for line in read_lines(fd, str(path)) if line.name is not None}
    finally:
        os.close(fd)


def _find(name: bytes, lines: Sequence[Line]) -> Line | None:
    return next((each for each in lines if each.name == name), None)


def _near(name: bytes, lines: Sequence[Line]) -> str:
    known = [encoded_name(line.name) for line in lines if line.name is not None]
    near = difflib.get_close_matches(encoded_name(name), known, 1)
    return f'did you mean "{near[0]}"?' if near else f"it has {len(known)} others"


@contextlib.contextmanager
def _locked(path: Path, create: bool) -> Iterator[int]:
    """The file, open and locked; one that was made for this goes again if the change fails."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        fd, made = _opened(path, create)
        try:
            _lock(fd, path, deadline)
            if not _is_at(path, fd):
                continue  # replaced while we waited
            try:
                yield fd
            except BaseException:
                if made and _is_at(path, fd):
                    path.unlink()
                raise
            return
        finally:
            os.close(fd)


def _opened(path: Path, create: bool) -> tuple[int, bool]:
    """A descriptor, and whether the file was made for it."""
    if create:
        try:
            return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), True
        except FileExistsError:
            pass
        except OSError as error:
            raise _failed(path, "made", error) from None
    return open_users(path), False


def _lock(fd: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UsersError(str(path), "another program is changing it", "try again later") from None
            time.sleep(_PAUSE)
        except OSError as error:
            raise _failed(path, "locked", error) from None
        else:
            return


def _is_at(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))
    except OSError:
        return False


def _replace(path: Path, fd: int, data: bytes) -> None:
    """Put a file with this content, and the mode and owner of `fd`, in the place of `path`."""
    if len(data) > LARGEST_FILE:
        raise UsersError(str(path), f"would have {len(data)} bytes", f"the most is {LARGEST_FILE}")
    try:
        status = check_file(fd, str(path))
        with temporary(path.parent, ".users-") as (new, name):
            with open(new, "wb", closefd=False) as stream:
                stream.write(data)
            # Owner before mode: chown takes mode bits away.
            if (status.st_uid, status.st_gid) != (os.fstat(new).st_uid, os.fstat(new).st_gid):
                os.fchown(new, status.st_uid, status.st_gid)
            os.fchmod(new, stat.S_IMODE(status.st_mode))
            os.fsync(new)
            os.rename(name, path)
        _sync_directory(path.parent)
    except OSError as error:
        raise _failed(path, "written", error) from None


def _sync_directory(directory: Path) -> None:
    """Make the rename last; the change itself is done, so a file system that cannot is no failure."""
    with contextlib.suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _failed(path: Path, verb: str, error: OSError) -> UsersError:
    help_ = _HELP.get(error.errno or 0, "nothing was changed")
    return UsersError(str(path), f"cannot be {verb} ({error.strerror})", help_)
