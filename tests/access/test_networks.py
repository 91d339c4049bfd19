from __future__ import annotations

import timeit
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.access.networks import NetworkSet, category, embedded, normalised, split
from forksocks.config.sets import SETS

REFUSED = """
@reserved 0.0.0.0 0.1.2.3
@private 10.0.0.0 10.0.0.1 10.255.255.255 100.64.0.1 100.127.255.255 172.16.0.1 172.31.255.255 192.168.0.1
@metadata 100.100.100.200 168.63.129.16 169.254.169.254 169.254.170.2 192.0.0.192
@loopback 127.0.0.1 127.0.0.53 127.255.255.254
@link-local 169.254.0.1
@reserved 192.0.0.1 192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1
@multicast 224.0.0.1 239.255.255.250
@reserved 240.0.0.1 255.255.255.255
@reserved :: ::2 ::7f00:1 ::a9fe:a9fe ::ffff:0.0.0.0 ::ffff:0:7f00:1
@loopback ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1
@private ::ffff:10.0.0.1 64:ff9b::a00:1
@metadata ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe
@reserved 64:ff9b:1::a9fe:a9fe 100::1 100:0:0:1::1 200::1 2001::1 2001:0:a9fe:a9fe::1 2001:2::1
@reserved 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::1 2002:a9fe:a9fe::1
@loopback 2a00::5efe:7f00:1
@metadata 2a00::200:5efe:a9fe:a9fe fd00:ec2::254 fd20:ce::254 fd00::5efe:a9fe:a9fe
@reserved 3ffe::1 3fff::1 4000::1 5f00::1
@private fc00::1 fd00:ec2::253 fd00::5efe:10.0.0.1 fd00::5efe:8.8.8.8
@link-local fe80::1 febf::1
@reserved fe80::5efe:10.0.0.1 fec0::1
@multicast ff02::1 ff05::2 ff0e::1
"""

PUBLIC = """
1.0.0.0 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 168.63.129.15
168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 191.255.255.255 192.0.1.0 192.167.255.255
192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 ::ffff:8.8.8.8 64:ff9b::808:808 2606:4700::1111
2001:200::1 2001:4860:4860::8888 2003::1 2a00::5efe:8.8.8.8 2a00::100:5efe:7f00:1 3ffd:ffff::1 3fff:1000::1
"""


def refused() -> list[tuple[str, str]]:
    rows = [line.split() for line in REFUSED.strip().splitlines()]
    return [(address, row[0]) for row in rows for address in row[1:]]


@pytest.mark.parametrize(("address", "name"), refused())
def test_an_address_that_is_not_public_has_a_category(address: str, name: str) -> None:
    assert category(ip_address(address)) == name


@pytest.mark.parametrize("address", PUBLIC.split())
def test_a_public_address_has_none(address: str) -> None:
    assert category(ip_address(address)) is None


def test_every_category_is_a_set_that_an_operator_can_name() -> None:
    assert {name for _, name in refused()} <= set(SETS)


@given(st.ip_addresses(v=4))
def test_mapped_and_nat64_forms_are_judged_as_the_address_inside(address: IPv4Address) -> None:
    for prefix in ("::ffff:", "64:ff9b::"):
        wrapped = ip_address(f"{prefix}{address}")
        assert category(wrapped) == category(address)
        assert embedded(wrapped) == address


@given(st.ip_addresses(v=4))
def test_an_isatap_address_is_never_more_open_than_what_it_carries(address: IPv4Address) -> None:
    for middle in ("0:5efe", "200:5efe"):
        public = ip_address(f"2a00::{middle}:{address}")
        assert category(public) == category(address)
        assert embedded(public) == address
        assert category(ip_address(f"fe80::{middle}:{address}")) is not None


def test_normalised_unwraps_mapped_addresses_and_drops_zones() -> None:
    assert normalised(ip_address("::ffff:192.0.2.1")) == IPv4Address("192.0.2.1")
    assert normalised(ip_address("192.0.2.1")) == IPv4Address("192.0.2.1")
    assert normalised(IPv6Address("fe80::1%eth0")) == IPv6Address("fe80::1")
    assert normalised(ip_address("64:ff9b::1")) == IPv6Address("64:ff9b::1")


def test_plain_addresses_carry_nothing() -> None:
    assert embedded(ip_address("10.0.0.1")) is None
    assert embedded(ip_address("2a00::1")) is None


@given(
    st.lists(
        st.tuples(st.ip_addresses(v=4), st.integers(0, 32))
        | st.tuples(st.ip_addresses(v=6), st.integers(0, 128)),
        max_size=12,
    ),
    st.ip_addresses(),
)
def test_a_set_says_what_its_networks_say(
    rows: list[tuple[IPv4Address | IPv6Address, int]], stranger: IPv4Address | IPv6Address
) -> None:
    networks = [ip_network(row, strict=False) for row in rows]
    networks = [network for network in networks if normalised(network.network_address) in network]
    members = NetworkSet(networks)
    edges = [end for network in networks for end in (network.network_address, network.broadcast_address)]
    beside = [
        edge + step for edge in edges for step in (-1, 1) if 0 <= int(edge) + step < 2**edge.max_prefixlen
    ]
    for address in map(normalised, [stranger, *edges, *beside]):
        wanted = any(address in network for network in networks)
        assert (address in members) == wanted


def test_a_mapped_network_holds_the_ipv4_addresses_that_it_stands_for() -> None:
    members = NetworkSet([ip_network("::ffff:10.0.0.0/104")])
    assert ip_address("10.1.2.3") in members
    assert ip_address("11.0.0.0") not in members


def test_families_do_not_mix() -> None:
    members = NetworkSet([ip_network("0.0.0.0/0")])
    assert ip_address("::1.2.3.4") not in members
    assert ip_address("1.2.3.4") in members
    assert not NetworkSet()


def test_a_hundred_thousand_networks_are_a_few_comparisons() -> None:
    members = NetworkSet(ip_network((number << 9, 24)) for number in range(100_000))
    inside, outside = ip_address(99_999 << 9), ip_address((99_999 << 9) + 256)
    assert inside in members
    assert outside not in members
    # Looking at every network would take about ten seconds here, bisecting takes some milliseconds.
    assert timeit.timeit(lambda: outside in members, number=2000) < 0.5


def test_selectors_are_split_into_names_and_networks() -> None:
    names, networks = split(["@private", ip_network("192.0.2.0/24")])
    assert names == {"@private"}
    assert ip_address("192.0.2.9") in networks
    with pytest.raises(ValueError, match="unknown set '@privat'; sets are @loopback"):
        split(["@privat"])
