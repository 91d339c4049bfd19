"""Which addresses are this machine's own, and which are its direct neighbours'?

The routing tables know, and nothing else does: a list of interface addresses misses AnyIP routes, and
trying to bind calls every address ours under ip_nonlocal_bind. Answers are kept for a second at most, so
that an address added while we run is ours a second later. What cannot be found out is answered on the safe
side: own, and not a neighbour.

The portable twin, for systems without rtnetlink, asks which source address the kernel would take: for our own
addresses it is the address itself. It knows no neighbours.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from forksocks.config.model import Address, Network
from forksocks.host import rtnetlink
from forksocks.host.rtnetlink import NoRoute, Route, RouteSocket

_KEPT_SECONDS = 1.0
_KEPT_ADDRESSES = 4096
_DUMP_SHARE = 100  # tables of a million routes take seconds to read: do it at most 1 % of the time

_OWN = frozenset({rtnetlink.LOCAL, rtnetlink.BROADCAST, rtnetlink.ANYCAST})

# A route wider than the widest private network (10.0.0.0/8, fc00::/7) is a default route by another name: the
# 0.0.0.0/1 of VPNs, 2000::/3.
_WIDEST = {4: 8, 6: 7}

_DISCARD = 9  # a port for connecting UDP sockets that never send, RFC 863


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address is: on this machine, on a directly attached network, or (neither) elsewhere."""

    own: bool
    attached: bool


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What the tables say as a whole."""

    gateways: frozenset[Address]
    attached: tuple[Network, ...]


_OWN_OR_UNKNOWN = Place(own=True, attached=False)
_ELSEWHERE = Place(own=False, attached=False)


class Source(Protocol):
    """Where `Routes` gets its knowledge; either method may raise OSError for "cannot say"."""

    def place(self, address: Address) -> Place:
        """Where one address is; default gateways count as attached here."""

    def neighbourhood(self) -> Neighbourhood:
        """The gateways of every default route of every table, and the attached networks, in order."""

    def close(self) -> None:
        """Give back what the source holds."""


class Routes:
    """Answers about addresses, from the best source that this system has.

    Make one in each process, after fork and before a sandbox: its socket cannot be shared. Thread-safe. An
    answer from memory costs half a microsecond, another about 15.
    """

    def __init__(self, source: Source | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source or best_source()
        self._clock = clock
        self._places: dict[bytes, Place] = {}
        self._places_until = 0.0
        self._reading = threading.Lock()
        self._near: Neighbourhood | None = None
        self._around_until = 0.0

    def is_own(self, address: Address) -> bool:
        """Whether a packet to `address` stays on this machine (or is a broadcast, which it takes as well)."""
        return self._place(address).own

    def is_attached(self, address: Address) -> bool:
        """Whether `address` is that of a host on a directly attached network, and not a default gateway's."""
        return self._place(address).attached and self._is_no_gateway(_inside(address))

    def attached_networks(self) -> tuple[Network, ...]:
        """The directly attached networks, in order; empty if the tables cannot be read."""
        near = self._neighbourhood()
        return near.attached if near else ()

    def close(self) -> None:
        """Close the socket; whatever is asked later is answered on the safe side."""
        self._source.close()

    def _place(self, address: Address) -> Place:
        now = self._clock()
        places = self._places
        if now >= self._places_until or len(places) >= _KEPT_ADDRESSES:
            # One replacement: other threads never see half of it, and nothing has to be aged one by one.
            self._places = places = {}
            self._places_until = now + _KEPT_SECONDS
        key = address.packed
        place = places.get(key)
        if place is None:
            place = places[key] = self._found(address)
        return place

    def _found(self, address: Address) -> Place:
        address = _inside(address)
        if address.is_unspecified or address.is_loopback:
            return _OWN_OR_UNKNOWN  # connect(2) takes 0.0.0.0 and :: to loopback
        try:
            return self._source.place(address)
        except OSError:
            return Place(own=is_own_by_source_address(address), attached=False)

    def _is_no_gateway(self, address: Address) -> bool:
        near = self._neighbourhood()
        return near is not None and all(gateway.packed != address.packed for gateway in near.gateways)

    def _neighbourhood(self) -> Neighbourhood | None:
        """What the tables say, None if they could not be read; that is remembered as well."""
        if self._clock() >= self._around_until:
            with self._reading:
                began = self._clock()
                if began >= self._around_until:
                    try:
                        self._near = self._source.neighbourhood()
                    except OSError:
                        self._near = None
                    took = self._clock() - began
                    self._around_until = began + max(_KEPT_SECONDS, _DUMP_SHARE * took)
        return self._near


def best_source() -> Source:
    """The one place where rtnetlink or its portable twin is chosen."""
    try:
        return NetlinkSource()
    except OSError:  # not Linux, an emulated kernel (gVisor's is partial), or a sandbox around us
        return PortableSource()


class NetlinkSource:
    """What Linux's routing tables say, if the kernel answers a question within `seconds`."""

    def __init__(self, seconds: float = 1.0) -> None:
        self._socket = RouteSocket(seconds)

    def place(self, address: Address) -> Place:
        """See Source."""
        try:
            route = self._socket.lookup(address)
        except NoRoute:
            return _ELSEWHERE
        return Place(own=route.kind in _OWN, attached=_is_attached(route))

    def neighbourhood(self) -> Neighbourhood:
        """See Source."""
        routes = self._socket.dump()
        gateways = frozenset(gateway for route in routes if _is_default(route) for gateway in route.gateways)
        attached = {_network(route) for route in routes if _is_attached(route)}
        return Neighbourhood(
            gateways, tuple(sorted(attached, key=lambda net: (net.version, int(net[0]), net.prefixlen)))
        )

    def close(self) -> None:
        """See Source."""
        self._socket.close()


class PortableSource:
    """What any system's UDP sockets say."""

    def place(self, address: Address) -> Place:
        """See Source."""
        return Place(own=is_own_by_source_address(address), attached=False)

    def neighbourhood(self) -> Neighbourhood:
        """See Source."""
        return Neighbourhood(frozenset(), ())

    def close(self) -> None:
        """See Source."""


def is_own_by_source_address(address: Address) -> bool:
    """Whether the kernel, sending to `address`, would send from it; True if it cannot be asked."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        probe = socket.socket(family, socket.SOCK_DGRAM)
    except OSError:
        return True
    with probe:
        try:
            probe.connect((str(address), _DISCARD))
            return bool(probe.getsockname()[0] == str(address))
        except OSError:  # no route, so it cannot be dialled either
            return False


def _inside(address: Address) -> Address:
    """The IPv4 address in ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2); any other as it is."""
    return (address.ipv4_mapped if address.version == 6 else None) or address


def _is_default(route: Route) -> bool:
    return route.prefix < _WIDEST[route.destination.version]


def _is_attached(route: Route) -> bool:
    return route.kind == rtnetlink.UNICAST and not route.gateways and not _is_default(route)


def _network(route: Route) -> Network:
    if route.destination.version == 4:
        return IPv4Network((int(route.destination), route.prefix))
    return IPv6Network((int(route.destination), route.prefix))
