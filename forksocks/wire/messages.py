"""The words of SOCKS version 5: methods, commands, replies, hosts, and the one error that a parser raises."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

Address = IPv4Address | IPv6Address


class Method(enum.IntEnum):
    """Authentication methods (RFC 1928 section 3)."""

    NONE = 0x00
    GSSAPI = 0x01
    PASSWORD = 0x02
    NO_ACCEPTABLE = 0xFF


class Command(enum.IntEnum):
    """What a client may ask for (RFC 1928 section 4); the last two are Tor's (its socks-extensions)."""

    CONNECT = 0x01
    BIND = 0x02
    UDP_ASSOCIATE = 0x03
    RESOLVE = 0xF0
    RESOLVE_PTR = 0xF1


# How a command is called in the log.
COMMAND_WORDS: Mapping[int, str] = {
    Command.CONNECT: "connect",
    Command.BIND: "bind",
    Command.UDP_ASSOCIATE: "udp",
    Command.RESOLVE: "resolve",
    Command.RESOLVE_PTR: "resolve-ptr",
}


class AddressType(enum.IntEnum):
    """How a host is written (RFC 1928 section 5)."""

    IPV4 = 0x01
    NAME = 0x03
    IPV6 = 0x04


class Reply(enum.IntEnum):
    """How a request ended (RFC 1928 section 6)."""

    SUCCEEDED = 0x00
    GENERAL_FAILURE = 0x01
    NOT_ALLOWED = 0x02
    NETWORK_UNREACHABLE = 0x03
    HOST_UNREACHABLE = 0x04
    CONNECTION_REFUSED = 0x05
    TTL_EXPIRED = 0x06
    COMMAND_NOT_SUPPORTED = 0x07
    ADDRESS_TYPE_NOT_SUPPORTED = 0x08


class ProtocolError(Exception):
    """A message that no RFC allows; `answer` is what the client is owed before the close, often nothing.

    reply: what the answer says where it is a request's reply.
    """

    def __init__(self, text: str, answer: bytes = b"", reply: Reply | None = None) -> None:
        super().__init__(text)
        self.answer = answer
        self.reply = reply


class Request(NamedTuple):
    """A request as it was sent: `command` may be unknown, and a name is still the client's bytes."""

    command: int
    host: Address | bytes
    port: int
