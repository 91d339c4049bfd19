"""The users file: who may come in with which password.

One user a line, `name:hash`, or `name:hash:group,group` for who is in groups that rules can name; blank lines
and `#` comments between. A name is 1-255 bytes of any value (RFC 1929); what is not plain ASCII, and `:`, `%`
and `#`, is written %XX. A file that others can write, or with one wrong line, is refused as a whole: half of
a users file is a list of people locked out. No message contains a hash, or anything else of a line but a
name.

Whoever asks learns only yes or no: a name that does not exist costs one hash of the same parameters as some
name that does.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from forksocks.access import hashes
from forksocks.access.hashes import BadHash
from forksocks.config.rule_values import GROUP
from forksocks.host.files import SYMLINK
from forksocks.host.terminal import printable

LARGEST_FILE = 16 << 20  # bytes; some 150,000 users
LONGEST_NAME = 255  # bytes, RFC 1929 section 2

_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b":%#")
MOST_GROUPS = 32  # of one user: their names go over a channel with each login
GROUPS_FORM = (
    f"write at most {MOST_GROUPS} groups as staff,admin: letters, digits and . _ - within, 32 at most"
)
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_FORM = (
    "a line is name:hash or name:hash:group,group; in names all but plain ASCII, and : % #, is written %XX"
)

# Of no password: what is checked where there are no users, so that an empty file is no faster than another.
_NOBODY = b"$argon2id$v=19$m=65536,t=3,p=4$" + b"A" * 22 + b"$" + b"A" * 43


class UsersError(Exception):
    """A users file that is not accepted: which, in which line if in one, what is wrong, what is allowed."""

    def __init__(self, name: str, what: str, allowed: str, line: int | None = None) -> None:
        place = shown(name) if line is None else f"{shown(name)}:{line}"
        super().__init__(f"{place}: {what}; {allowed}")
        self.name = name
        self.line = line


class Shortage(UsersError):
    """The file could not be opened for a reason that is not the file's: it may be opened the next time."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file: its number from 1, its bytes with their newline, and the user in it if any."""

    number: int
    raw: bytes
    name: bytes | None = None
    encoded: bytes = b""
    groups: tuple[str, ...] = ()


class Users:
    """Names, hashes and groups as they were when the file was read. Thread-safe: nothing changes later."""

    def __init__(
        self, hashed: dict[bytes, bytes], groups: Mapping[bytes, tuple[str, ...]] | None = None
    ) -> None:
        self._hashes = hashed
        self._groups = groups or {}
        self._any = tuple(hashed.values()) or (_NOBODY,)
        # From the file itself: the same name costs the same in every process and after every restart.
        self._key = blake2b(b"\n".join(self._any)).digest()

    @classmethod
    def read(cls, fd: int, name: str) -> Users:
        """The users in an open file, which stays open; UsersError calls it `name`."""
        lines = [(line.name, line) for line in read_lines(fd, name) if line.name is not None]
        groups = {user: line.groups for user, line in lines if line.groups}
        return cls({user: line.encoded for user, line in lines}, groups)

    def __len__(self) -> int:
        return len(self._hashes)

    def groups(self, name: bytes) -> tuple[str, ...]:
        """The groups that a user is in; none of a name that is not there."""
        return self._groups.get(name, ())

    def verify(self, name: bytes, password: bytes) -> bool:
        """Whether this is the user's password. Takes one hash's time (tens of milliseconds) either way.

        MemoryError if there is not enough for the hash: then nothing is known.
        """
        known = self._hashes.get(name)
        right = hashes.matches(known or self._decoy(name), password)
        return right and known is not None

    def _decoy(self, name: bytes) -> bytes:
        """Some user's hash, always the same for a name, so that unknown names cost what known ones do."""
        pick = int.from_bytes(blake2b(name, key=self._key, digest_size=8).digest(), "big")
        return self._any[pick % len(self._any)]


def open_users(path: Path, owners: Collection[int] | None = None) -> int:
    """Open the file for reading and return its descriptor; UsersError says how to mend what keeps it closed.

    Never through a symbolic link, and a FIFO does not block it. owners: the accounts that it, and the
    directory that it is in, may belong to; None: any, for who does not let anybody in by it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _not_opened(path, error) from None
    try:
        check_file(fd, str(path))
        if owners is not None:
            check_hands(os.fstat(fd), path, owners)
    except UsersError:
        os.close(fd)
        raise
    except OSError as error:
        os.close(fd)
        raise _not_opened(path, error) from None
    return fd


def check_file(fd: int, name: str) -> os.stat_result:
    """What fstat says of a file that can be trusted; UsersError for any other."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise UsersError(name, "is not a regular file", "name a file of name:hash lines")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        who = "others" if status.st_mode & stat.S_IWOTH else "its group"
        raise UsersError(name, f"{who} can write it", f"to mend this: chmod go-w {shown(name)}")
    if status.st_size > LARGEST_FILE:
        raise UsersError(name, f"has {status.st_size} bytes", f"the most is {LARGEST_FILE}")
    return status


def check_hands(status: os.stat_result | None, path: Path, owners: Collection[int]) -> None:
    """UsersError if others could write the file or put another in its place (sshd_config(5), StrictModes).

    status: None for a file that is still to be made.
    """
    name, folder = shown(path), shown(path.parent)
    around = os.stat(path.parent)
    for what, found in ((name, status), (folder, around)):
        if found is not None and (uid := found.st_uid) not in owners:
            told = f"{what} belongs to account {uid}, which could change it"
            raise UsersError(str(path), told, f"to mend this: chown root {what}")
    if around.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not around.st_mode & stat.S_ISVTX:
        who = "others" if around.st_mode & stat.S_IWOTH else "its group"
        told = f"{who} can write the directory that it is in"
        raise UsersError(str(path), told, f"to mend this: chmod go-w {folder}")


def read_lines(fd: int, name: str) -> list[Line]:
    """Every line of an open file, all of them right; UsersError for the first that is not."""
    lines: list[Line] = []
    for line in _parsed(_content(fd, name), name):
        if isinstance(line, UsersError):
            raise line
        lines.append(line)
    return lines


def faults(fd: int, name: str) -> list[UsersError]:
    """What is wrong with each wrong line of an open file; UsersError if it cannot be read at all."""
    return [line for line in _parsed(_content(fd, name), name) if isinstance(line, UsersError)]


def _content(fd: int, name: str) -> bytes:
    check_file(fd, name)
    chunks: list[bytes] = []
    size = 0
    try:
        while size <= LARGEST_FILE and (chunk := os.pread(fd, 1 << 20, size)):
            chunks.append(chunk)
            size += len(chunk)
    except OSError as error:
        raise UsersError(name, f"cannot be read ({error.strerror})", "it has to be readable") from None
    if size > LARGEST_FILE:
        raise UsersError(name, "grows while it is read", f"the most is {LARGEST_FILE} bytes")
    return b"".join(chunks)


def _parsed(data: bytes, file: str) -> Iterator[Line | UsersError]:
    """Each line, or what is wrong with it."""
    seen: dict[bytes, int] = {}
    for number, raw in enumerate(_split(data), 1):
        try:
            line = _line(number, raw, file)
        except UsersError as error:
            yield error
            continue
        first = number if line.name is None else seen.setdefault(line.name, number)
        if line.name is not None and first != number:
            what = f'"{encoded_name(line.name)}" is already in line {first}'
            yield UsersError(file, what, "a user has one line", number)
        else:
            yield line


def _split(data: bytes) -> Iterator[bytes]:
    """Lines with their newline; only LF ends one."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


def _line(number: int, raw: bytes, file: str) -> Line:
    text = raw.removesuffix(b"\n")
    if not text.strip(b" \t") or text.startswith(b"#"):
        return Line(number, raw)
    if text.endswith(b"\r"):
        raise UsersError(file, "ends with a carriage return", "lines end with a line feed alone", number)
    written, colon, rest = text.partition(b":")
    encoded, in_groups, listed = rest.partition(b":")
    if not colon:
        raise UsersError(file, "has no colon", _FORM, number)
    name = decoded_name(written)
    if name is None:
        raise UsersError(file, "the name is not written as it should be", _FORM, number)
    try:
        hashes.check(encoded)
    except BadHash as error:
        what = f'what should be the hash of "{encoded_name(name)}" {error}'
        raise UsersError(file, what, hashes.ALLOWED, number) from None
    groups = read_groups(listed.decode("ascii", "replace")) if in_groups else ()
    if groups is None:
        what = f'the groups of "{encoded_name(name)}" are not written as they should be'
        raise UsersError(file, what, GROUPS_FORM, number)
    return Line(number, raw, name, encoded, groups)


def read_groups(text: str) -> tuple[str, ...] | None:
    """`staff,admin` as names, each once, in order; None if it is no such list."""
    groups = tuple(dict.fromkeys(text.split(",")))
    right = len(groups) <= MOST_GROUPS and all(GROUP.fullmatch(each) for each in groups)
    return groups if right else None


def encoded_name(name: bytes) -> str:
    """A name as the file has it: printable ASCII without spaces, so fit for terminals too."""
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in name)


def decoded_name(written: bytes) -> bytes | None:
    """The name that `encoded_name` wrote; None if it cannot have."""
    if not _PLAIN.issuperset(_ESCAPE.sub(b"", written)):
        return None
    name = _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), written)
    return name if 1 <= len(name) <= LONGEST_NAME else None


def shown(text: str | os.PathLike[str]) -> str:
    """A path for a message: what a terminal would not print as it is, is escaped."""
    return printable(os.fspath(text))


def _not_opened(path: Path, error: OSError) -> UsersError:
    """UsersError for a failed open(2), with what helps."""
    name = str(path)
    if error.errno in _SHORTAGES:
        return Shortage(name, error.strerror or "cannot be opened", "it is tried again")
    if error.errno in SYMLINK:
        return UsersError(name, "is a symbolic link", "name the file itself")
    if error.errno == errno.ENOENT:
        make = f"make it with: forksocksctl passwd {shown(name)} NAME"
        return UsersError(name, "there is no such file", make)
    if error.errno == errno.EACCES:
        return UsersError(name, "permission denied", f"see: ls -l {shown(name)}")
    return UsersError(name, error.strerror or "cannot be opened", "name a file of name:hash lines")
