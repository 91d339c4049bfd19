"""SOCKS version 5 (RFC 1928) and its user name and password (RFC 1929), from the server's side.

A reader gives a message or raises ProtocolError, and takes not one byte beyond its message.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from forksocks.wire.messages import Address, AddressType, Method, ProtocolError, Reply, Request
from forksocks.wire.reader import Reader

VERSION = 0x05
PASSWORD_VERSION = 0x01  # of the sub-negotiation, RFC 1929 section 2
PASSWORD_ACCEPTED = bytes((PASSWORD_VERSION, 0x00))
PASSWORD_REFUSED = bytes((PASSWORD_VERSION, 0x01))


def read_methods(reader: Reader) -> bytes:
    """Read the greeting; return the methods that the client offers, a byte each (RFC 1928 section 3)."""
    version, count = reader.exactly(2)
    if version != VERSION:
        raise ProtocolError(f"version {version}, expected {VERSION}")
    if not count:
        raise ProtocolError("no methods offered", method_selection(Method.NO_ACCEPTABLE))
    return reader.exactly(count)


def method_selection(method: Method) -> bytes:
    """Return the answer to a greeting (RFC 1928 section 3)."""
    return bytes((VERSION, method))


def read_credentials(reader: Reader) -> tuple[bytes, bytes]:
    """Read a user name and a password, 1 to 255 bytes of any value each (RFC 1929 section 2)."""
    version, length = reader.exactly(2)
    if version != PASSWORD_VERSION:
        raise ProtocolError(f"password version {version}, expected {PASSWORD_VERSION}", PASSWORD_REFUSED)
    name = reader.exactly(length)
    password = reader.exactly(reader.exactly(1)[0])
    if not name or not password:
        raise ProtocolError("empty user name or password", PASSWORD_REFUSED)
    return name, password


def read_request(reader: Reader) -> Request:
    """Read one request (RFC 1928 section 4); the greeting is done."""
    version, command, _reserved, kind = reader.exactly(4)
    if version != VERSION:
        raise ProtocolError(f"version {version}, expected {VERSION}")
    host = read_host(reader, kind)
    return Request(command, host, int.from_bytes(reader.exactly(2), "big"))


def read_host(reader: Reader, kind: int) -> Address | bytes:
    """Read a host of address type `kind` (RFC 1928 section 5); a name stays bytes."""
    if kind == AddressType.IPV4:
        return IPv4Address(reader.exactly(4))
    if kind == AddressType.NAME:
        return reader.exactly(reader.exactly(1)[0])
    if kind == AddressType.IPV6:
        return IPv6Address(reader.exactly(16))
    unknown = Reply.ADDRESS_TYPE_NOT_SUPPORTED
    raise ProtocolError(f"address type {kind}", reply(unknown), unknown)


def name_reply(name: bytes) -> bytes:
    """Return a success whose bound address is a name of at most 255 bytes, as RESOLVE_PTR answers."""
    head = bytes((VERSION, Reply.SUCCEEDED, 0, AddressType.NAME, len(name)))
    return head + name + bytes(2)


def reply(code: Reply, bound: bytes = bytes(4), port: int = 0) -> bytes:
    """Return a reply; `bound` is a packed address of 4 or 16 bytes (RFC 1928 section 6)."""
    kind = AddressType.IPV4 if len(bound) == 4 else AddressType.IPV6
    return bytes((VERSION, code, 0, kind)) + bound + port.to_bytes(2, "big")
