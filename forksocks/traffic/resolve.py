"""Names to addresses, once: what is returned here is judged and dialled, and nobody asks again.

getaddrinfo(3) cannot be interrupted and has no deadline, so a worker leaves it to the lookup agent; this
module is what the agent runs, and how the question and its answer are written on the way.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from forksocks.config.model import Address, Families
from forksocks.wire.names import BadName, read_name

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
REVERSE = b"\0"  # no name begins with it: the packed address behind it is what a name is asked for


def answer(question: bytes, families: Families) -> bytes:
    """Look up the name that is the whole of `question`; return what `read_answer` reads.

    A question made by `reverse_question` is answered for `read_name_answer`. Whatever is neither, even bytes
    that a sound worker never sends, has no address.
    """
    try:
        if question[:1] == REVERSE:
            return FOUND + name_of(_unpacked(question[1:]))
        addresses = look_up(question.decode("ascii"), families)
    except (LookupFailed, ValueError) as error:
        return FAILED + str(error).encode("utf-8", "replace")
    return FOUND + b"".join(bytes((len(address.packed),)) + address.packed for address in addresses)


def name_of(address: Address) -> bytes:
    """Return the name that DNS or the hosts file has for an address (getnameinfo(3)).

    Whoever owns the address writes it, so it has to be one that we would look up. Raises LookupFailed.
    """
    try:
        name, _ = socket.getnameinfo((str(address), 0), socket.NI_NAMEREQD)
        good = read_name(name.encode("ascii", "replace"))
    except (OSError, BadName) as error:
        raise LookupFailed(str(getattr(error, "strerror", None) or error)) from error
    if not isinstance(good, str):
        raise LookupFailed("its name is an address")
    return good.encode("ascii")


def reverse_question(address: Address) -> bytes:
    """Return the question for the name of an address."""
    return REVERSE + address.packed


def read_name_answer(message: bytes) -> bytes:
    """Return the name of an answer; raise as `read_answer` does."""
    if message[:1] == FAILED:
        raise LookupFailed(message[1:].decode("utf-8", "replace"))
    if message[:1] != FOUND:
        raise ValueError("not an answer to a lookup")
    return message[1:]


def _unpacked(packed: bytes) -> Address:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


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
