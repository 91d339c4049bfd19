"""Which addresses are not the public internet, and sets of networks that answer in a microsecond.

The rule is our own table, since `ipaddress.is_global` passes addresses that reach the machine or its
neighbours (CVE-2024-4032). Judge the exact address that is about to be dialled. IPv4 is public unless a row
names it; IPv6 is public only inside 2000::/3 (IANA's global unicast) and outside that block's holes. An
IPv6 address that carries an IPv4 address which some gateway will unpack is judged by what is inside.
Refusing all of NAT64 would cut hosts behind DNS64 off, so 64:ff9b::/96 is open as far as its IPv4 is.

Everything is kept as sorted integers: one bisect decides.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_network

from forksocks.config.model import Address, Network
from forksocks.config.sets import LINK_LOCAL, LOOPBACK, METADATA, MULTICAST, PRIVATE, RESERVED, SETS

_PUBLIC = None

# The longest prefix decides. RFC 6890's registries, and the providers' metadata addresses: 169.254.169.254
# is shared by AWS, Azure, GCP and others; 169.254.170.2 is ECS, 168.63.129.16 Azure's wire server,
# 100.100.100.200 Alibaba, 192.0.0.192 Oracle, fd00:ec2::254 AWS, fd20:ce::254 GCP.
_TABLE: Mapping[str, str | None] = {
    "0.0.0.0/0": _PUBLIC,
    "0.0.0.0/8": RESERVED,
    "10.0.0.0/8": PRIVATE,
    "100.64.0.0/10": PRIVATE,
    "100.100.100.200/32": METADATA,
    "127.0.0.0/8": LOOPBACK,
    "168.63.129.16/32": METADATA,
    "169.254.0.0/16": LINK_LOCAL,
    "169.254.169.254/32": METADATA,
    "169.254.170.2/32": METADATA,
    "172.16.0.0/12": PRIVATE,
    "192.0.0.0/24": RESERVED,
    "192.0.0.192/32": METADATA,
    "192.0.2.0/24": RESERVED,
    "192.88.99.0/24": RESERVED,
    "192.168.0.0/16": PRIVATE,
    "198.18.0.0/15": RESERVED,
    "198.51.100.0/24": RESERVED,
    "203.0.113.0/24": RESERVED,
    "224.0.0.0/4": MULTICAST,
    "240.0.0.0/4": RESERVED,
    "::/0": RESERVED,
    "::1/128": LOOPBACK,
    "2000::/3": _PUBLIC,
    "2001::/23": RESERVED,
    "2001:db8::/32": RESERVED,
    "2002::/16": RESERVED,
    "3ffe::/16": RESERVED,
    "3fff::/20": RESERVED,
    "fc00::/7": PRIVATE,
    "fd00:ec2::254/128": METADATA,
    "fd20:ce::254/128": METADATA,
    "fe80::/10": LINK_LOCAL,
    "ff00::/8": MULTICAST,
}

_MAPPED = 0xFFFF  # ::ffff:0:0/96 (RFC 4291 section 2.5.5.2), without its last 32 bits
_NAT64 = 0x0064_FF9B << 64  # 64:ff9b::/96 (RFC 6052 section 2.1)
_WRAPPED = frozenset({_MAPPED, _NAT64})
_ISATAP = frozenset(
    {0x0000_5EFE, 0x0200_5EFE}
)  # first half of the interface identifier (RFC 5214 section 6.1)
_LOW = 0xFFFF_FFFF


def _flattened(version: int) -> tuple[list[int], list[str | None]]:
    """The rows of one family as disjoint ranges: where each starts, and its category."""
    rows = [(ip_network(text), name) for text, name in _TABLE.items()]
    rows = sorted((row for row in rows if row[0].version == version), key=lambda row: row[0].prefixlen)
    bounds = sorted({edge for network, _ in rows for edge in edges(network)})[:-1]
    names: list[str | None] = []
    for start in bounds:
        names.append([name for network, name in rows if edges(network)[0] <= start < edges(network)[1]][-1])
    return bounds, names


def edges(network: Network) -> tuple[int, int]:
    """Return a network's first address, and the one after its last, as integers."""
    start = int(network.network_address)
    return start, start + (1 << (network.max_prefixlen - network.prefixlen))


_V4_STARTS, _V4_NAMES = _flattened(4)
_V6_STARTS, _V6_NAMES = _flattened(6)


def normalised(address: Address) -> Address:
    """The address that the kernel would dial: IPv4-mapped IPv6 as its IPv4, and without a zone."""
    if type(address) is IPv4Address:
        return address
    value = int(address)
    if value >> 32 == _MAPPED:
        return IPv4Address(value & _LOW)
    return address if address.version == 4 or address.scope_id is None else IPv6Address(value)


def embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that a gateway would unpack from this one (mapped, NAT64, ISATAP), else None."""
    if address.version == 4:
        return None
    value = int(address)
    high = value >> 32
    if high in _WRAPPED or high & _LOW in _ISATAP:
        return IPv4Address(value & _LOW)
    return None


def category(address: Address) -> str | None:
    """The name of the set that this address belongs to, "@private"; None for a public address."""
    value = int(address)
    if address.version == 4:
        return _V4_NAMES[bisect_right(_V4_STARTS, value) - 1]
    high = value >> 32
    if high in _WRAPPED:
        return _V4_NAMES[bisect_right(_V4_STARTS, value & _LOW) - 1]
    own = _V6_NAMES[bisect_right(_V6_STARTS, value) - 1]
    if high & _LOW not in _ISATAP:
        return own
    inside = _V4_NAMES[bisect_right(_V4_STARTS, value & _LOW) - 1]
    if own == inside or inside is None:
        return own
    # Two reasons to refuse: neither set's name alone may open it.
    return inside if own is None or inside == METADATA else RESERVED


class NetworkSet:
    """A fixed set of networks of both families; membership costs one bisect, however many there are."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for network in map(unmapped, networks):
            ranges[network.version].append(edges(network))
        self._v4 = _bounds(ranges[4])
        self._v6 = _bounds(ranges[6])

    def __contains__(self, address: Address) -> bool:
        """Whether a normalised address is in any of the networks."""
        # Edges alternate between start and end, so inside is where an odd number of them has been passed.
        return bool(bisect_right(self._v4 if address.version == 4 else self._v6, int(address)) & 1)

    def holds(self, network: Network) -> bool:
        """Whether all of a network is in them."""
        network = unmapped(network)
        start, end = edges(network)
        bounds = self._v4 if network.version == 4 else self._v6
        at = bisect_right(bounds, start)
        return bool(at & 1) and bounds[at] >= end

    def __bool__(self) -> bool:
        return bool(self._v4 or self._v6)


def unmapped(network: Network) -> Network:
    """Return a network of IPv4-mapped addresses as the IPv4 network that it stands for."""
    if network.version == 4 or network.prefixlen < 96 or int(network.network_address) >> 32 != _MAPPED:
        return network
    return IPv4Network((int(network.network_address) & _LOW, network.prefixlen - 96))


def merge(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges (first, one after the last) in order, joined where they overlap or touch."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _bounds(ranges: Iterable[tuple[int, int]]) -> list[int]:
    """Merged ranges as one ascending list: start, end, start, end."""
    return [bound for each in merge(ranges) for bound in each]


def split(selectors: Iterable[str | Network]) -> tuple[frozenset[str], NetworkSet]:
    """Selectors as the names of sets and the networks; ValueError for a name that is not in SETS."""
    names: set[str] = set()
    networks: list[Network] = []
    for selector in selectors:
        if not isinstance(selector, str):
            networks.append(selector)
        elif selector in SETS:
            names.add(selector)
        else:
            raise ValueError(f"unknown set {selector!r}; sets are {', '.join(SETS)}")
    return frozenset(names), NetworkSet(networks)
