"""Addresses and networks of either family, and how one is written beside a port; a part of `model`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def endpoint(host: Address | str, port: int) -> str:
    """An address or a name and its port: `192.0.2.1:1080`, `[2001:db8::1]:1080`, `example.com:443`."""
    text = str(host)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"
