"""The protocol of Squid's basic authentication helpers: a line asks, a line answers.

    [channel] name password
    [channel] OK | ERR | BH  [key=value ...]

Name and password are written %XX wherever they are not letters, digits, ".", "_" or "-", so that neither can
end a line or look like an answer. Squid's Features/AddonHelpers has the words; helpers from before Squid 3.4
say the reason of an ERR in plain text.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from forksocks.wire.messages import ProtocolError

# Of an answer, in bytes, without its newline: helpers send a word and perhaps a sentence.
LONGEST_ANSWER = 8192

_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_ANSWER = re.compile(rb"(?:([0-9]{1,9}) )?(OK|ERR|BH)(?: +(.*))?", re.DOTALL)
_MESSAGE = re.compile(rb'(?:^| )message=(?:"((?:[^"\\]|\\.)*)"|([^ ]*))', re.DOTALL)
_PAIR = re.compile(rb"[A-Za-z_]+=")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


class Result(enum.Enum):
    """What a helper says: right, wrong, or that it cannot tell ("broken helper")."""

    OK = b"OK"
    ERR = b"ERR"
    BH = b"BH"


class Answer(NamedTuple):
    """One answer; `message` is what the helper says beside it, unquoted and of any bytes."""

    channel: int
    result: Result
    message: bytes


def can_be_asked(name: bytes, password: bytes) -> bool:
    """Whether helpers can be told these: they are C programs, for which a NUL would end them early."""
    return b"\0" not in name and b"\0" not in password


def question(name: bytes, password: bytes, channel: int | None) -> bytes:
    """Return the line that asks; `channel` None for a helper that takes one question at a time."""
    line = b"%s %s\n" % (_escaped(name), _escaped(password))
    return line if channel is None else b"%d %s" % (channel, line)


def read_answer(line: bytes, with_channel: bool) -> Answer:
    """Read a line without its newline; raises ProtocolError for what is no answer."""
    if len(line) > LONGEST_ANSWER:
        raise ProtocolError("a line without end")
    found = _ANSWER.fullmatch(line.removesuffix(b"\r").rstrip(b" "))
    if found is None or (found[1] is not None) != with_channel:
        raise ProtocolError("an answer that is none")
    return Answer(int(found[1] or 0), Result(found[2]), _message(found[3] or b""))


def _escaped(text: bytes) -> bytes:
    return b"".join(b"%c" % byte if byte in _PLAIN else b"%%%02X" % byte for byte in text)


def _message(rest: bytes) -> bytes:
    found = _MESSAGE.search(rest)
    if found is None:
        return b"" if _PAIR.match(rest) else rest
    if found[1] is not None:
        return re.sub(rb"\\(.)", rb"\1", found[1], flags=re.DOTALL)
    return _ESCAPE.sub(lambda match: bytes.fromhex(match[1].decode()), found[2])
