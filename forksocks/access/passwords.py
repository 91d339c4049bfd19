"""A name and a password on their way to the process that can check them, and its answer."""

from __future__ import annotations

import math

NO, UNAVAILABLE = b"-", b"?"
_YES = b"+"
_FOR_EVER = 0xFFFFFFFF


class Unavailable(Exception):
    """Nobody can tell now whether a password is right: what checks them is out of order."""


def question(name: bytes, password: bytes) -> bytes:
    """Return both as one message; a name has at most 255 bytes (RFC 1929)."""
    return bytes((len(name),)) + name + password


def read_question(message: bytes) -> tuple[bytes, bytes]:
    """Return the name and the password of a message that `question` made; of any other, whatever there is."""
    end = 1 + sum(message[:1])
    return message[1:end], message[end:]


def yes(seconds: float = math.inf) -> bytes:
    """Return the answer that they are right, and may be believed for so long; infinite: until told."""
    milliseconds = _FOR_EVER if math.isinf(seconds) else min(round(seconds * 1000), _FOR_EVER - 1)
    return _YES + milliseconds.to_bytes(4, "big")


def read_answer(message: bytes) -> float | None:
    """For how many seconds they may be believed to be right; None: they are not. Raises Unavailable."""
    if message == UNAVAILABLE:
        raise Unavailable
    if message[:1] != _YES:
        return None
    milliseconds = int.from_bytes(message[1:], "big")
    return math.inf if milliseconds == _FOR_EVER else milliseconds / 1000
