"""What the kernel's routing tables say, asked for real: in a namespace with its own addresses and routes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.namespace import Namespace
from tests.system.processes import eventually

OWN = "10.1.2.3 fd00:1::1 127.0.0.1 127.9.9.9 ::1 0.0.0.0 :: ::ffff:10.1.2.3 ::ffff:127.0.0.1"
NEIGHBOURS = "10.1.2.4 fd00:1::2 ::ffff:10.1.2.4"
ELSEWHERE = "198.51.100.1 10.9.0.1 2001:db8:2::1 fd00:9::1 ::ffff:198.51.100.1"


@pytest.fixture
def space() -> Iterator[Namespace]:
    """10.1.2.3/24 and fd00:1::1/64 on a cable, and a router behind which 10.9.0.0/16 and fd00:9::/64 are."""
    with Namespace() as made:
        made.ip(
            "link add near type veth peer name far",
            "link set near up",
            "link set far up",
            "addr add 10.1.2.3/24 dev near",
            "addr add fd00:1::1/64 dev near nodad",
            "route add 10.9.0.0/16 via 10.1.2.9",
            "route add fd00:9::/64 via fd00:1::9",
        )
        # A link takes a moment to come up, and until then IPv6 has no route to the address that it carries.
        assert eventually(lambda: says(made.own("netlink", OWN)) == {True})
        yield made


def says(answers: dict[str, bool]) -> set[bool]:
    return set(answers.values())


@pytest.mark.parametrize("source", ["netlink", "portable"])
def test_own_addresses_and_no_others(space: Namespace, source: str) -> None:
    assert says(space.own(source, OWN)) == {True}
    assert says(space.own(source, f"{NEIGHBOURS} {ELSEWHERE}")) == {False}


@pytest.mark.parametrize("source", ["netlink", "portable"])
def test_a_default_route_makes_nothing_else_own(space: Namespace, source: str) -> None:
    space.ip("route add default via 10.1.2.254", "route add default via fd00:1::fe")
    assert says(space.own(source, OWN)) == {True}
    assert says(space.own(source, f"{NEIGHBOURS} {ELSEWHERE} 10.1.2.254 fd00:1::fe")) == {False}


def test_anyip_routes_and_broadcasts_are_own(space: Namespace) -> None:
    space.ip("route add local 192.0.2.0/24 dev lo", "route add local 2001:db8:1::/48 dev lo")
    own = space.own("netlink", "192.0.2.1 192.0.2.255 2001:db8:1::5 10.1.2.255")
    assert says(own) == {True}
    assert says(space.own("netlink", "192.0.3.1 2001:db8:3::5")) == {False}


def test_the_portable_twin_knows_anyip_of_ipv4(space: Namespace) -> None:
    space.ip("route add local 192.0.2.0/24 dev lo")
    assert says(space.own("portable", "192.0.2.1 192.0.2.200")) == {True}


def test_neighbours_are_attached(space: Namespace) -> None:
    assert says(space.attached("netlink", NEIGHBOURS)) == {True}
    assert space.networks("netlink") == ["10.1.2.0/24", "fd00:1::/64", "fe80::/64"]


def test_neither_ourselves_nor_what_is_behind_a_router_is_attached(space: Namespace) -> None:
    space.ip("route add default via 10.1.2.254", "route add default via fd00:1::fe")
    assert says(space.attached("netlink", f"{OWN} {ELSEWHERE}")) == {False}


def test_the_default_gateway_is_no_neighbour(space: Namespace) -> None:
    gateways = "10.1.2.254 fd00:1::fe ::ffff:10.1.2.254"
    assert says(space.attached("netlink", gateways)) == {True}
    space.ip("route add default via 10.1.2.254", "route add default via fd00:1::fe")
    assert says(space.attached("netlink", gateways)) == {False}
    assert space.gateways("netlink") == ["10.1.2.254", "fd00:1::fe"]


@pytest.mark.parametrize(
    ("command", "gateways"),
    [
        ("route add default nexthop via 10.1.2.7 nexthop via 10.1.2.8", ["10.1.2.7", "10.1.2.8"]),
        ("route add default via 10.1.2.7 table 77", ["10.1.2.7"]),
        ("route add default via inet6 fd00:1::7", ["fd00:1::7"]),
        ("route add 0.0.0.0/1 via 10.1.2.7", ["10.1.2.7"]),
        ("route add 2000::/3 via fd00:1::7", ["fd00:1::7"]),
        ("route add 10.8.0.0/16 via 10.1.2.7", []),
    ],
)
def test_default_routes_of_every_kind_have_gateways(
    space: Namespace, command: str, gateways: list[str]
) -> None:
    space.ip(command)
    assert space.gateways("netlink") == gateways
    assert not any(space.attached("netlink", each)[each] for each in gateways)


def test_a_default_route_without_a_gateway_attaches_nobody(space: Namespace) -> None:
    space.ip("route add default dev near", "route add ::/0 dev near")
    assert says(space.attached("netlink", "198.51.100.1 2001:db8:2::1")) == {False}
    assert space.networks("netlink") == ["10.1.2.0/24", "fd00:1::/64", "fe80::/64"]


@pytest.mark.parametrize("kind", ["blackhole", "unreachable", "prohibit", "throw"])
def test_a_route_that_is_an_error_leads_nowhere(space: Namespace, kind: str) -> None:
    space.ip(f"route add {kind} 10.1.2.64/26", f"route add {kind} fd00:1::4000/114")
    inside = "10.1.2.77 fd00:1::4001"
    assert says(space.own("netlink", inside)) == {False}
    assert says(space.attached("netlink", inside)) == {False}


def test_an_address_that_goes_is_own_no_more(space: Namespace) -> None:
    space.ip("addr add 203.0.113.5/32 dev near")
    assert space.own("netlink", "203.0.113.5") == {"203.0.113.5": True}
    space.ip("addr del 203.0.113.5/32 dev near")
    assert space.own("netlink", "203.0.113.5") == {"203.0.113.5": False}


def test_a_dump_of_many_parts_is_read_to_its_end(space: Namespace) -> None:
    near = {f"172.{16 + number // 250}.{number % 250}.0/24" for number in range(1000)}
    space.ip(*(f"route add {network} dev near" for network in near))
    space.ip(
        *(f"route add 172.{20 + number // 250}.{number % 250}.0/24 via 10.1.2.9" for number in range(1000))
    )
    networks = {network for network in space.networks("netlink") if network.startswith("172.")}
    assert networks == near


def test_the_portable_twin_knows_no_neighbours(space: Namespace) -> None:
    assert says(space.attached("portable", NEIGHBOURS)) == {False}
    assert space.gateways("portable") == []
    assert space.networks("portable") == []
