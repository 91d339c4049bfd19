"""Clients that come from an address of their own each, so that no limit for one address meets them; users."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

from forksocks.access.hashes import Parameters, hashed
from tests.system.client import Client
from tests.system.island import Island
from tests.system.processes import LONG
from tests.system.server import Server

# A few hundredths of a second of a core: enough to be felt, little enough for a test.
COST = Parameters(memory=16384, passes=2, lanes=1)
_NUMBERS = count(1)


def _address() -> str:
    return str(IPv4Address("127.1.0.0") + next(_NUMBERS))


def connect(island: Island, server: Server) -> Client:
    """Connect from home's loopback to a server there."""
    return Client(island.home.connect(*server.endpoint, source=_address()))


def client_of(server: Server, source: str | None = None) -> Client:
    """Connect from an address of this machine's loopback, a new one if none is given."""
    address = (source or _address(), 0)
    return Client(socket.create_connection(server.endpoint, LONG, source_address=address))


def write_users(path: Path, **passwords: bytes) -> None:
    """Write a users file of quickly made hashes."""
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_bytes(b"".join(b"%b:%b\n" % (n.encode(), hashed(p, COST)) for n, p in passwords.items()))
    new.rename(path)
