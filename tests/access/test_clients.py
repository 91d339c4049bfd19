from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from forksocks.access.clients import Clients
from forksocks.config.model import AccessConfig, Network
from forksocks.host.routes import Routes
from tests.access.fakes import FakeSource

OWN = "192.168.1.5 203.0.114.5 fd00::5"
NEAR = "192.168.1.0/24 203.0.114.0/24 fd00::/64 fe80::/64"
GATEWAYS = "192.168.1.1 fe80::1"

NEIGHBOURS = [
    "192.168.1.77",
    "192.168.1.5",
    "fd00::77",
    "fd00::5",
    "fe80::77",
    "fe80::77%eth0",
    "::ffff:192.168.1.77",
]
LOOPBACK = ["127.0.0.1", "127.5.5.5", "::1", "::ffff:127.0.0.1"]
GATEWAY = ["192.168.1.1", "::ffff:192.168.1.1", "fe80::1", "fe80::1%eth0"]
STRANGERS = [
    "8.8.8.8",
    "203.0.114.77",
    "203.0.114.5",
    "192.168.2.7",
    "10.1.1.1",
    "2a00::1",
    "fd01::1",
    "224.0.0.1",
    "64:ff9b::a00:1",
]


def clients(
    *allow_from: str, users: bool = False, container: bool = False, open_proxy: bool = False
) -> tuple[Clients, FakeSource]:
    selectors: tuple[str | Network, ...] = tuple(
        text if text.startswith("@") else ip_network(text) for text in allow_from
    )
    config = AccessConfig(allow_from=selectors or None, open_proxy=open_proxy)
    source = FakeSource(OWN, NEAR, GATEWAYS)
    return Clients(config, has_users=users, in_container=container, routes=Routes(source)), source


def admitted(made: tuple[Clients, FakeSource]) -> list[str]:
    return [text for text in LOOPBACK + NEIGHBOURS + GATEWAY + STRANGERS if made[0].admits(ip_address(text))]


def test_by_default_loopback_and_private_neighbours_are_served() -> None:
    made = clients()
    assert admitted(made) == LOOPBACK + NEIGHBOURS
    assert made[0].describe() == (
        "loopback, 192.168.1.0/24 (attached), fd00::/64 (attached) and fe80::/64 (attached)"
    )


def test_in_a_container_loopback_alone_is_served() -> None:
    made = clients(container=True)
    assert admitted(made) == LOOPBACK
    assert made[0].describe() == "loopback alone, since this is a container"


@pytest.mark.parametrize("container", [False, True])
def test_users_or_an_open_proxy_let_anyone_in(container: bool) -> None:
    for made in (clients(users=True, container=container), clients(open_proxy=True, container=container)):
        assert admitted(made) == LOOPBACK + NEIGHBOURS + GATEWAY + STRANGERS
        assert made[0].describe() == "anyone"


@pytest.mark.parametrize("flags", [{}, {"users": True}, {"open_proxy": True}, {"container": True}])
def test_a_list_is_the_whole_list(flags: dict[str, bool]) -> None:
    made = clients("10.0.0.0/8", "2a00::/16", **flags)
    assert admitted(made) == ["10.1.1.1", "2a00::1"]
    assert made[0].describe() == "10.0.0.0/8 and 2a00::/16"


def without_password(
    *networks: str, allow_from: tuple[str, ...] = (), users: bool = False
) -> tuple[Clients, FakeSource]:
    lists = [
        tuple(n if n.startswith("@") else ip_network(n) for n in each) for each in (networks, allow_from)
    ]
    config = AccessConfig(allow_from=lists[1] or None, without_password=lists[0])
    source = FakeSource(OWN, NEAR, GATEWAYS)
    return Clients(config, has_users=users, in_container=False, routes=Routes(source)), source


def test_those_who_need_no_password_may_be_listed() -> None:
    made = without_password("@loopback", "10.0.0.0/8")
    assert admitted(made) == [*LOOPBACK, "10.1.1.1"]
    assert made[0].describe() == "loopback and 10.0.0.0/8"
    assert admitted(without_password()) == []
    assert admitted(without_password("@loopback", users=True)) == LOOPBACK + NEIGHBOURS + GATEWAY + STRANGERS


def test_who_may_not_come_in_at_all_may_not_without_a_password() -> None:
    assert admitted(without_password("@loopback", "10.0.0.0/8", allow_from=("10.0.0.0/8",))) == ["10.1.1.1"]
    assert admitted(without_password("@any", allow_from=("10.0.0.0/8",))) == ["10.1.1.1"]


def test_an_empty_list_serves_nobody() -> None:
    nobody = Clients(
        AccessConfig(allow_from=()), has_users=True, in_container=False, routes=Routes(FakeSource())
    )
    assert not nobody.admits(ip_address("127.0.0.1"))
    assert nobody.describe() == "nobody"


def test_sets_can_be_listed() -> None:
    assert admitted(clients("@loopback")) == LOOPBACK
    assert admitted(clients("@attached")) == NEIGHBOURS
    assert admitted(clients("@self")) == [text for text in NEIGHBOURS + STRANGERS if text in OWN.split()]
    assert "192.168.2.7" in admitted(clients("@private"))
    assert clients("@any", container=True)[0].describe() == "anyone"
    assert clients("@loopback", container=True)[0].describe() == "loopback"


@pytest.mark.parametrize("address", ["2a00::5efe:7f00:1", "2a00::200:5efe:192.168.1.77", "64:ff9b::7f00:1"])
def test_an_ipv4_address_inside_a_foreign_one_earns_no_trust(address: str) -> None:
    for made in (clients(), clients("@loopback", "@private", "@attached", "@self")):
        assert not made[0].admits(ip_address(address))


def test_the_gateway_can_be_named_on_purpose() -> None:
    assert admitted(clients("192.168.1.1/32")) == ["192.168.1.1", "::ffff:192.168.1.1"]


def test_a_client_of_a_unix_socket_is_always_served() -> None:
    assert clients("192.0.2.0/24", container=True)[0].admits(None)


def test_loopback_and_public_clients_cost_no_question_to_the_routing_tables() -> None:
    made, source = clients()
    made.admits(ip_address("127.0.0.1"))
    made.admits(ip_address("::1"))
    made.admits(ip_address("8.8.8.8"))
    assert source.asked == []


def test_an_unknown_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="unknown set '@lan'"):
        clients("@lan")
