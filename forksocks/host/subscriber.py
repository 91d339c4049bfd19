"""What one subscriber has: an IPv4 address, or all of an IPv6 /64. Whoever counts strangers counts these.

An IPv6 host chooses among 2^64 addresses as it likes, so that a count by address would count nothing.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Address, IPv6Network

from forksocks.config.model import Address, Network

_OF_IPV6 = 1 << 64


def subscriber(client: Address | None) -> int:
    """A number for the subscriber that a client belongs to, in at most 65 bits; 0 for all of unix sockets."""
    if client is None:
        return 0
    number = int(client)
    return number if client.version == 4 else number >> 64 | _OF_IPV6


def named(client: Address) -> str:
    """The subscriber in words: `192.0.2.1`, `2001:db8::/64`."""
    if client.version == 4:
        return str(client)
    return f"{IPv6Address(int(client) >> 64 << 64)}/64"


def network_of(number: int) -> Network | None:
    """The network that `subscriber` made a number of; None for unix sockets, and what is no such number."""
    if number >> 64 == 1:
        return IPv6Network((number % _OF_IPV6 << 64, 64))
    return IPv4Network((number, 32)) if 0 < number < 1 << 32 else None
