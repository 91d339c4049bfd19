"""Questions to Linux's routing tables over rtnetlink(7): where would a packet to this address go?

One socket, opened at construction, since a sandbox may forbid opening one later. It must not be shared by
two processes: each would take the other's answers. The kernel answers one address before `send` returns; a
dump comes in parts. Every answer is matched by its sequence number, and what is not ours is thrown away, so
that an answer that came too late for one question never answers the next.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from forksocks.config.model import Address
from forksocks.host import kernel, linux

_ENDS = frozenset({2, 3})  # NLMSG_ERROR, NLMSG_DONE: nlmsghdr types, netlink(7)
_REQUEST, _DUMP = 0x1, 0x300  # nlmsghdr flags
_DUMP_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR: the tables changed below the dump
_NEW_ROUTE, _GET_ROUTE = 24, 26  # RTM_NEWROUTE, RTM_GETROUTE
_FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: answer with the route itself, and so its prefix length

UNICAST, LOCAL, BROADCAST, ANYCAST = 1, 2, 3, 4  # rtm_type, <linux/rtnetlink.h>

_DST, _GATEWAY, _MULTIPATH, _VIA = 1, 5, 9, 18  # RTA_*

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags
_ATTRIBUTE = struct.Struct("=HH")  # rtattr: length, type
_FAMILY_SIZE = 2  # bytes before the address in rtvia
_NEXTHOP = struct.Struct("=HBBi")  # rtnexthop: length, flags, hops, interface
_CODE = struct.Struct("=i")  # nlmsgerr: negated errno

_BUFFER = 1 << 16  # bytes; the kernel puts at most 32 KiB into one part of a dump
_ATTEMPTS = 3  # of a question whose answer was lost or disturbed
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

_Attributes = dict[int, memoryview]

# Errors that say how the question fared. Any other is the answer: this address has no route.
_FARED_BADLY = frozenset({errno.ENOMEM, errno.ENOBUFS, errno.EBUSY, errno.EINTR, errno.EPERM, errno.EINVAL})
_WORTH_ANOTHER = frozenset({errno.ENOBUFS, errno.EINTR})


class NoRoute(OSError):
    """The kernel says that a packet to this address goes nowhere."""


@dataclass(frozen=True, slots=True)
class Route:
    """One route: its `kind` (rtm_type), destination, and its next hops' gateways (none: on-link)."""

    kind: int
    destination: Address
    prefix: int
    gateways: tuple[Address, ...]


class RouteSocket:
    """A netlink socket and its lock. OSError if it cannot be opened; `seconds` bounds each question."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._sequence = 0
        self._buffer = bytearray(_BUFFER)
        self._socket = linux.route_socket()
        try:
            self._socket.bind((0, 0))
            # Not settimeout: that costs a poll for every answer.
            kernel.receive_timeout(self._socket, seconds)
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close the socket; a question after that is an OSError."""
        self._socket.close()

    def lookup(self, address: Address) -> Route:
        """The route that a packet to `address` would take.

        NoRoute if there is none; another OSError if the kernel could not be asked.
        """
        family, packed = _FAMILIES[address.version], address.packed
        request = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, _FIB_MATCH)
        request += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(packed), _DST) + packed
        for route in self._ask(request, _REQUEST):
            return route
        raise OSError(errno.EPROTO, "no answer from rtnetlink")

    def dump(self) -> list[Route]:
        """Every route of every table, both families; OSError if the kernel cannot say in time."""
        requests = (_ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) for family in _FAMILIES.values())
        return [route for request in requests for route in self._ask(request, _REQUEST | _DUMP)]

    def _ask(self, request: bytes, flags: int) -> list[Route]:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._lock:
                    self._send(request, flags)
                    return self._collect(flags)
            except OSError as error:
                if error.errno not in _WORTH_ANOTHER or attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _send(self, request: bytes, flags: int) -> None:
        self._sequence = self._sequence + 1 & 0xFFFF_FFFF
        header = _HEADER.pack(_HEADER.size + len(request), _GET_ROUTE, flags, self._sequence, 0)
        self._socket.sendto(header + request, (0, 0))

    def _collect(self, flags: int) -> list[Route]:
        """The routes that answer the question just sent: one, or all up to the dump's end."""
        routes: list[Route] = []
        disturbed = False
        deadline = time.monotonic() + self._seconds
        while True:
            for kind, reply_flags, payload in self._received(deadline):
                disturbed = disturbed or bool(reply_flags & _DUMP_INTERRUPTED)
                if kind == _NEW_ROUTE:
                    routes += _routes(payload)
                    if routes and flags == _REQUEST:
                        return routes
                elif kind in _ENDS:
                    _raise_for(payload)
                    if disturbed:
                        raise InterruptedError(errno.EINTR, "the routing tables changed while they were read")
                    return routes

    def _received(self, deadline: float) -> Iterator[tuple[int, int, memoryview]]:
        """Type, flags and payload of each message of the next datagram that answers our last question."""
        if time.monotonic() > deadline:
            raise TimeoutError(errno.ETIMEDOUT, "rtnetlink did not answer")
        try:
            size, sender = self._socket.recvfrom_into(self._buffer)
        except BlockingIOError:  # SO_RCVTIMEO ran out
            raise TimeoutError(errno.ETIMEDOUT, "rtnetlink did not answer") from None
        if sender[0] != 0:  # only the kernel is port 0
            return
        yield from _messages(memoryview(self._buffer)[:size], self._sequence)


def _messages(data: memoryview, wanted: int) -> Iterator[tuple[int, int, memoryview]]:
    """The messages of one datagram that have this sequence number; OSError if it is cut or odd."""
    while data:
        if len(data) < _HEADER.size:
            raise OSError(errno.EPROTO, "odd answer from rtnetlink")
        length, kind, flags, sequence, _port = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            raise OSError(errno.EPROTO, "odd answer from rtnetlink")
        if sequence == wanted:
            yield kind, flags, data[_HEADER.size : length]
        data = data[_aligned(length) :]


def _raise_for(payload: memoryview) -> None:
    """Raise what an nlmsgerr says, if it says an error; the end of a dump carries the same number."""
    code = -_CODE.unpack_from(payload)[0] if len(payload) >= _CODE.size else 0
    if code in _FARED_BADLY:
        raise OSError(code, f"rtnetlink: {os.strerror(code)}")
    if code:
        raise NoRoute(code, os.strerror(code))


def _routes(payload: memoryview) -> Iterator[Route]:
    """The route in an RTM_NEWROUTE; none if it is of a family that is not ours (multicast routing)."""
    if len(payload) < _ROUTE.size:
        raise OSError(errno.EPROTO, "odd answer from rtnetlink")
    family, prefix, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(payload)
    if family not in _FAMILIES.values():
        return
    attributes = dict(_attributes(payload[_ROUTE.size :]))
    # The default route has no destination: it is zero.
    zero = bytes(4 if family == socket.AF_INET else 16)
    destination = _address(attributes.get(_DST, zero))
    if destination is not None:
        yield Route(kind, destination, prefix, tuple(_gateways(attributes)))


def _attributes(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            raise OSError(errno.EPROTO, "odd answer from rtnetlink")
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_aligned(length) :]


def _gateways(attributes: _Attributes) -> Iterator[Address]:
    """The gateways of a route and of each of its next hops, those of the other family too (RTA_VIA)."""
    via = attributes.get(_VIA)
    found = [attributes.get(_GATEWAY), via[_FAMILY_SIZE:] if via is not None else None]
    for packed in found:
        address = _address(packed) if packed is not None else None
        if address is not None:
            yield address
    for hop in _hops(attributes.get(_MULTIPATH, memoryview(b""))):
        yield from _gateways(hop)


def _hops(data: memoryview) -> Iterator[_Attributes]:
    while len(data) >= _NEXTHOP.size:
        length, _, _, _ = _NEXTHOP.unpack_from(data)
        if not _NEXTHOP.size <= length <= len(data):
            raise OSError(errno.EPROTO, "odd answer from rtnetlink")
        # A next hop holds no next hops.
        yield {k: v for k, v in _attributes(data[_NEXTHOP.size : length]) if k != _MULTIPATH}
        data = data[_aligned(length) :]


def _address(packed: bytes | memoryview) -> Address | None:
    if len(packed) == 4:
        return IPv4Address(bytes(packed))
    return IPv6Address(bytes(packed)) if len(packed) == 16 else None


def _aligned(length: int) -> int:
    """netlink(7) and rtnetlink(7) align everything to four bytes."""
    return length + 3 & ~3
