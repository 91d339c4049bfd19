"""A routing table in memory, for the rules above it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from forksocks.config.model import Address, Network
from forksocks.host.routes import Neighbourhood, Place, Routes


class FakeSource:
    def __init__(self, own: str = "", attached: str = "", gateways: str = "") -> None:
        self.own = frozenset(map(ip_address, own.split()))
        self.networks: tuple[Network, ...] = tuple(map(ip_network, attached.split()))
        self.gateways = frozenset(map(ip_address, gateways.split()))
        self.asked: list[Address] = []

    def place(self, address: Address) -> Place:
        self.asked.append(address)
        own = address in self.own
        return Place(own, not own and any(address in network for network in self.networks))

    def neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(self.gateways, self.networks)

    def close(self) -> None:
        self.asked.clear()


def routes(own: str = "", attached: str = "", gateways: str = "") -> Routes:
    return Routes(FakeSource(own, attached, gateways))
