"""Addresses and networks of either family, and how one is written beside a port; a part of `model`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def endpoint(host: Address | str, port: int) -> str:
    """An address or a name and its port: `192.0.2.1:1080`, `[2001:db8::1]:1080`, `example.com:443`."""
    text = str(host)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


@dataclass(frozen=True, slots=True)
class Bind:
    """One listening address: TCP address and port, path of a unix socket, or name of inherited sockets.

    Exactly one of `host`, `path` and `name` is set; port 0 asks the kernel for a free port.
    """

    host: Address | None = None
    port: int = 0
    path: Path | None = None
    name: str | None = None

    def __str__(self) -> str:
        """As a user writes it: `192.0.2.1:1080`, `[::1]:1080`, `unix:/run/forksocks.sock`, `systemd:web`."""
        if self.name is not None:
            return f"systemd:{self.name}"
        if self.host is None:
            return f"unix:{self.path}"
        return endpoint(self.host, self.port)
