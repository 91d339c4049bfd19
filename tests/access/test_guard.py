from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from forksocks.access.guard import EgressGuard
from forksocks.config.model import AccessConfig, Network
from forksocks.config.sets import SETS
from forksocks.host.routes import Routes
from tests.access.fakes import FakeSource, routes
from tests.access.test_networks import PUBLIC, refused

OWN = "203.0.114.5 192.168.1.5 2a00::5 fe80::5 fd00::5"
NEAR = "192.168.1.0/24 203.0.114.0/24 fd00::/64 fe80::/64"


def guard(*allow_to: str) -> EgressGuard:
    selectors: tuple[str | Network, ...] = tuple(
        text if text.startswith("@") else ip_network(text) for text in allow_to
    )
    return EgressGuard(AccessConfig(allow_to=selectors), routes(OWN, NEAR, "192.168.1.1"))


@pytest.mark.parametrize("address", [address for address, _ in refused()])
def test_everything_in_the_table_is_refused_unless_opened(address: str) -> None:
    name = guard().refusal(ip_address(address))
    assert name is not None
    assert name in SETS
    assert guard(name).refusal(ip_address(address)) is None, "what a refusal names opens the address"


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_may_be_dialled(address: str) -> None:
    assert guard().refusal(ip_address(address)) is None


@pytest.mark.parametrize(
    "address", [*OWN.split(), "::ffff:203.0.114.5", "64:ff9b::203.0.114.5", "fe80::5%eth0"]
)
def test_own_addresses_are_opened_by_self_alone(address: str) -> None:
    others = [name for name in SETS if name not in ("@self", "@any")]
    assert guard(*others).refusal(ip_address(address)) == "@self"
    assert guard("@self").refusal(ip_address(address)) is None


@pytest.mark.parametrize(
    "address", ["203.0.115.9", "203.0.115.18", "2a00:5::7", "::ffff:203.0.115.9", "64:ff9b::203.0.115.9"]
)
def test_what_leads_here_from_outside_is_own_where_it_is_told(address: str) -> None:
    told = tuple(ip_network(text) for text in ("203.0.115.9", "203.0.115.16/28", "2a00:5::/64"))
    for allow_to, name in (((), "@self"), (("@private",), "@self"), (("@self",), None)):
        watched = EgressGuard(AccessConfig(allow_to=allow_to, own=told), routes(OWN, NEAR, "192.168.1.1"))
        assert watched.refusal(ip_address(address)) == name
    assert guard().refusal(ip_address(address)) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"])
def test_loopback_is_opened_by_loopback_alone(address: str) -> None:
    others = [name for name in SETS if name not in ("@loopback", "@any")]
    assert guard(*others).refusal(ip_address(address)) == "@loopback"


@pytest.mark.parametrize(
    ("wide", "address"), [("@link-local", "169.254.169.254"), ("@private", "100.100.100.200")]
)
def test_metadata_services_are_not_opened_by_the_wider_set(wide: str, address: str) -> None:
    assert guard(wide).refusal(ip_address(address)) == "@metadata"


def test_a_network_opens_whatever_is_inside_it() -> None:
    opened = guard("192.168.1.5/32", "127.0.0.2/32", "169.254.0.0/16")
    for address in ("192.168.1.5", "127.0.0.2", "169.254.169.254", "::ffff:192.168.1.5"):
        assert opened.refusal(ip_address(address)) is None
    assert opened.refusal(ip_address("192.168.1.6")) == "@private"
    assert opened.refusal(ip_address("127.0.0.1")) == "@loopback"


def test_attached_opens_the_neighbours_except_the_gateway() -> None:
    opened = guard("@attached")
    assert opened.refusal(ip_address("192.168.1.77")) is None
    assert opened.refusal(ip_address("fe80::77")) is None
    assert opened.refusal(ip_address("192.168.1.1")) == "@private"
    assert opened.refusal(ip_address("192.168.2.77")) == "@private"


def test_any_opens_everything() -> None:
    for address in [*OWN.split(), *(address for address, _ in refused())]:
        assert guard("@any").refusal(ip_address(address)) is None


def test_an_unknown_set_is_an_error_not_a_rule_that_never_matches() -> None:
    with pytest.raises(ValueError, match="unknown set '@locals'"):
        guard("@locals")


def test_the_routing_tables_are_asked_once_for_an_address() -> None:
    source = FakeSource()
    watched = EgressGuard(AccessConfig(), Routes(source, clock=lambda: 1.0))
    for _ in range(3):
        assert watched.refusal(ip_address("8.8.8.8")) is None
    assert source.asked == [ip_address("8.8.8.8")]
