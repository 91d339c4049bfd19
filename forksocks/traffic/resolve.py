"""Names to addresses, once: what is returned here is judged and dialled, and nobody asks again.

getaddrinfo(3) cannot be interrupted and has no deadline, so a worker leaves it to the lookup agent; this
module is what the agent runs, and how the question and its answer are written on the way.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from forksocks.config.model import Address, Families

# A name with thousands of addresses must not make us knock on thousands of doors.
MOST_ADDRESSES = 16

_FAMILY = {
    Families.HAPPY_EYEBALLS: socket.AF_UNSPEC,
    Families.IPV4: socket.AF_INET,
    Families.IPV6: socket.AF_INET6,
}


class LookupFailed(Exception):
    """The name has no address, or nobody could say in time; the text says which."""


def look_up(name: str, families: Families) -> list[Address]:
    """Return the addresses of `name` in the order of preference (RFC 6724), at most MOST_ADDRESSES.

    The name goes to getaddrinfo(3) as bytes: as text it would pass Python's idna codec, which folds odd
    spellings into loopback and raises errors that are no OSError. Raises LookupFailed.
    """
    try:
        found = socket.getaddrinfo(name.encode("ascii"), None, _FAMILY[families], socket.SOCK_STREAM)
    except OSError as error:
        raise LookupFailed(str(error.strerror or error)) from error
    unique = dict.fromkeys(str(entry[4][0]) for entry in found)
    return [_address(text) for text in list(unique)[:MOST_ADDRESSES]]


def _address(text: str) -> Address:
    return IPv6Address(text.partition("%")[0]) if ":" in text else IPv4Address(text)


FOUND, FAILED = b"+", b"-"


def answer(question: bytes, families: Families) -> bytes:
    """Look up the name that is the whole of `question`; return what `read_answer` reads."""
    try:
        addresses = look_up(question.decode("ascii"), families)
    except LookupFailed as error:
        return FAILED + str(error).encode("utf-8", "replace")
    return FOUND + b"".join(bytes((len(address.packed),)) + address.packed for address in addresses)


def read_answer(message: bytes) -> list[Address]:
    """Return the addresses of an answer; raise LookupFailed if it says so, ValueError if it says nothing."""
    if message[:1] == FAILED:
        raise LookupFailed(message[1:].decode("utf-8", "replace"))
    if message[:1] != FOUND:
        raise ValueError("not an answer to a lookup")
    return list(_addresses(message[1:]))


def _addresses(packed: bytes) -> Iterator[Address]:
    while packed:
        length, packed = packed[0], packed[1:]
        if length not in (4, 16) or len(packed) < length:
            raise ValueError("not an answer to a lookup")
        yield IPv4Address(packed[:4]) if length == 4 else IPv6Address(packed[:16])
        packed = packed[length:]
