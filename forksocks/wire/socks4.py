"""SOCKS version 4 and its extension 4a, from the server's side.

The notes are Ying-Da Lee's: "SOCKS: A protocol for TCP proxy across firewalls" and "SOCKS 4A".

A request is one message and nothing comes before it; the user id in it proves nothing. A client of 4a leaves
a name to the server: its address is then 0.0.0.x with x not 0, and the name follows the user id.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import NamedTuple

from forksocks.wire.messages import Command, ProtocolError, Reply, Request
from forksocks.wire.reader import Reader

VERSION = 0x04
REPLY_VERSION = 0x00
LONGEST_TEXT = 255  # bytes of a user id or a name; the notes give no limit

# UDP came with version 5, and Tor has RESOLVE in 4a too.
COMMANDS = frozenset({Command.CONNECT, Command.BIND, Command.RESOLVE})

GRANTED, REFUSED = 90, 91


class Identified(NamedTuple):
    """A request and the user id that came with it."""

    request: Request
    user: bytes


def read_request(reader: Reader) -> Identified:
    """Read one request; raise ProtocolError for one that is not or that has a text over LONGEST_TEXT."""
    version, command = reader.exactly(2)
    if version != VERSION:
        raise ProtocolError(f"version {version}, expected {VERSION}")
    port = int.from_bytes(reader.exactly(2), "big")
    address = reader.exactly(4)
    user = _read_text(reader, "user id")
    is_name = address[:3] == bytes(3) and address[3]
    host = _read_text(reader, "name") if is_name else IPv4Address(address)
    return Identified(Request(command, host, port), user)


def _read_text(reader: Reader, what: str) -> bytes:
    text = reader.until(0, LONGEST_TEXT)
    if text is None:
        raise ProtocolError(f"{what} longer than {LONGEST_TEXT} bytes", reply(Reply.NOT_ALLOWED))
    return text


def reply(code: Reply, bound: bytes = bytes(4), port: int = 0) -> bytes:
    """Return a reply; every failure is 91, and an IPv6 address, which has no room here, is 0.0.0.0."""
    number = GRANTED if code is Reply.SUCCEEDED else REFUSED
    return bytes((REPLY_VERSION, number)) + port.to_bytes(2, "big") + (bound if len(bound) == 4 else bytes(4))
