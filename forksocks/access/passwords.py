"""A name and a password on their way to the process that can check them, and its answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from forksocks.config.model import Address

NO, UNAVAILABLE = b"-", b"?"
_YES, _BANNED = b"+", b"!"
_FOR_EVER = 0xFFFFFFFF
_ADDRESS: Mapping[int, type[Address]] = {4: IPv4Address, 16: IPv6Address}


class Right(NamedTuple):
    """Name and password belong together. seconds: how long that may be believed; groups: the user's."""

    seconds: float
    groups: tuple[str, ...] = ()


class Unavailable(Exception):
    """Nobody can tell now whether a password is right: what checks them is out of order."""


class Banned(Exception):
    """Whether a password is right is not even looked at: too many were wrong, or somebody said so.

    seconds: for how long yet; infinite for a ban that ends when it is lifted.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__("until it is lifted" if math.isinf(seconds) else f"for {seconds:.0f} s")
        self.seconds = seconds


def question(name: bytes, password: bytes, client: Address | None) -> bytes:
    """Return all as one message; a name and a password have at most 255 bytes (RFC 1929)."""
    where = b"" if client is None else client.packed
    return bytes((len(name), len(password))) + name + password + where


def read_question(message: bytes) -> tuple[bytes, bytes, Address | None]:
    """Return name, password and client's address of a `question`; of any other message, whatever is there."""
    name = 2 + sum(message[:1])
    password = name + sum(message[1:2])
    where = message[password:]
    client = _ADDRESS.get(len(where))
    return message[2:name], message[name:password], client(where) if client else None


def yes(seconds: float = math.inf, groups: tuple[str, ...] = ()) -> bytes:
    """Return the answer that they are right, and may be believed for so long; infinite: until told."""
    milliseconds = _FOR_EVER if math.isinf(seconds) else min(round(seconds * 1000), _FOR_EVER - 1)
    return _YES + milliseconds.to_bytes(4, "big") + ",".join(groups).encode()


def banned(seconds: float) -> bytes:
    """Return the answer that nobody will look at it for so long."""
    left = _FOR_EVER if math.isinf(seconds) else min(math.ceil(seconds), _FOR_EVER - 1)
    return _BANNED + left.to_bytes(4, "big")


def read_answer(message: bytes) -> Right | None:
    """For how long they may be believed to be right; None: they are not.

    Raises Banned and Unavailable.
    """
    if message == UNAVAILABLE:
        raise Unavailable
    if message[:1] == _BANNED:
        left = int.from_bytes(message[1:], "big")
        raise Banned(math.inf if left == _FOR_EVER else left)
    if message[:1] != _YES:
        return None
    milliseconds, groups = int.from_bytes(message[1:5], "big"), message[5:].decode("ascii", "replace")
    seconds = math.inf if milliseconds == _FOR_EVER else milliseconds / 1000
    return Right(seconds, tuple(groups.split(",")) if groups else ())
