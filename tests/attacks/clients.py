"""Clients that come from an address of their own each, so that no limit for one address meets them."""

from __future__ import annotations

from ipaddress import IPv4Address
from itertools import count

from tests.system.client import Client
from tests.system.island import Island
from tests.system.server import Server

_NUMBERS = count(1)


def connect(island: Island, server: Server) -> Client:
    """Connect from home's loopback to a server there."""
    source = IPv4Address("127.1.0.0") + next(_NUMBERS)
    return Client(island.home.connect(*server.endpoint, source=str(source)))
