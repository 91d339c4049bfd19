"""The messages of GSSAPI under SOCKS5 (RFC 1961): a version, a type, a length, a token.

What a token says is between the GSSAPI libraries of both sides.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from forksocks.wire.messages import ProtocolError
from forksocks.wire.reader import Reader

VERSION = 0x01
HEAD = 4  # bytes before the token
LONGEST_TOKEN = 0xFFFF
ABORT = bytes((VERSION, 0xFF))  # section 3.8: the context cannot be


class Kind(enum.IntEnum):
    """The type of a message: sections 3.3, 4.2 and 5."""

    AUTHENTICATION = 0x01
    PROTECTION = 0x02
    DATA = 0x03


class Level(enum.IntEnum):
    """How messages are protected (section 4.3); NONE is in no RFC, and what many clients ask for."""

    NONE = 0
    INTEGRITY = 1
    CONFIDENTIALITY = 2
    SELECTIVE = 3


def message(kind: Kind, token: bytes) -> bytes:
    """Return a message; a token has at most LONGEST_TOKEN bytes."""
    return bytes((VERSION, kind)) + len(token).to_bytes(2, "big") + token


def read_head(head: bytes, expected: Kind) -> int:
    """Return the length of the token behind a head of HEAD bytes; ProtocolError for another message."""
    version, kind, length = head[0], head[1], int.from_bytes(head[2:], "big")
    if (version, kind) != (VERSION, expected):
        raise ProtocolError(f"GSSAPI message {version}.{kind}, expected {VERSION}.{expected.value}", ABORT)
    return length


def read_token(reader: Reader, expected: Kind) -> bytes:
    """Read a message of a kind and return its token; ProtocolError for any other."""
    return reader.exactly(read_head(reader.exactly(HEAD), expected))


def whole_token(message: bytes, expected: Kind) -> bytes:
    """Return the token of a message that must be all there is, as in a datagram; ProtocolError."""
    if len(message) < HEAD or read_head(message[:HEAD], expected) != len(message) - HEAD:
        raise ProtocolError("not one GSSAPI message")
    return message[HEAD:]


def agreed(asked: int, allowed: frozenset[Level]) -> Level | None:
    """The level that a client gets which asks for `asked`, None if there is none.

    That or more; else, where it is allowed, NONE, which the client may refuse: it is told so, and leaves. Who
    asks for NONE gets it or nothing, for such clients would not read a protected answer. SELECTIVE in
    `allowed` has no meaning: it is what both kinds of protection are together.
    """
    return next((level for level in _GOOD_ENOUGH.get(asked, ()) if _grants(allowed, level)), None)


def _grants(allowed: frozenset[Level], level: Level) -> bool:
    if level is Level.SELECTIVE:
        return {Level.INTEGRITY, Level.CONFIDENTIALITY} <= allowed
    return level in allowed


# By what a client asks for, what it may be given, the best first.
_GOOD_ENOUGH: Mapping[int, tuple[Level, ...]] = {
    Level.NONE: (Level.NONE,),
    Level.INTEGRITY: (Level.INTEGRITY, Level.CONFIDENTIALITY, Level.NONE),
    Level.CONFIDENTIALITY: (Level.CONFIDENTIALITY, Level.NONE),
    Level.SELECTIVE: (Level.SELECTIVE, Level.CONFIDENTIALITY, Level.INTEGRITY, Level.NONE),
}
