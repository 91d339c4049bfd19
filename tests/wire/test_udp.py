from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.wire import udp
from forksocks.wire.messages import Address, ProtocolError
from forksocks.wire.udp import LAST, PATIENCE, Header, Reassembly

DATA = b"\x12\x34\x01\x00\x00\x01"
TO = b"\x01\xc0\x00\x02\x01\x00\x35"

# The header


@pytest.mark.parametrize(
    ("message", "header"),
    [
        (b"\0\0\0\x01\xc0\x00\x02\x01\x00\x35", (0, IPv4Address("192.0.2.1"), 53, 10)),
        (b"\0\0\x81\x04" + bytes(15) + b"\x01\xff\xff", (0x81, IPv6Address("::1"), 65535, 22)),
        (b"\0\0\x7f\x03\x01a\x00\x00", (0x7F, b"a", 0, 8)),
        (b"\0\0\0\x03\x00\x00\x35", (0, b"", 53, 7)),
        (b"\0\0\0\x03\xff" + b"n" * 255 + b"\x01\xbb", (0, b"n" * 255, 443, 262)),
    ],
)
def test_header(message: bytes, header: tuple[int, Address | bytes, int, int]) -> None:
    """Whole, cut at every byte, and with a payload that it leaves alone."""
    for tail in (b"", DATA):
        for kind in (bytes, bytearray, memoryview):
            assert udp.read_header(kind(message + tail)) == Header(*header)
    for cut in range(len(message)):
        assert udp.header_size(message[:cut]) == 0
        with pytest.raises(ProtocolError):
            udp.read_header(message[:cut])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\x03\xff",
        b"\x01\0\0\x01" + bytes(6),
        b"\0\x01\0\x01" + bytes(6),
        b"\5\1\0\1" + bytes(6),
    ],
)
def test_what_is_no_header(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        udp.read_header(message)


def test_unknown_address_types_are_no_header() -> None:
    for kind in set(range(256)) - {1, 3, 4}:
        assert udp.header_size(bytes((0, 0, 0, kind)) + bytes(300)) == 0


@given(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 255), st.binary(max_size=40))
def test_a_header_is_read_as_it_was_written(address: Address, port: int, fragment: int, data: bytes) -> None:
    message = udp.header(address.packed, port, fragment)
    assert len(message) == udp.SIZES[message[3]]
    assert udp.read_header(message + data) == (fragment, address, port, len(message))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_header_or_a_protocol_error(data: bytes) -> None:
    size = udp.header_size(data)
    if not size:
        with pytest.raises(ProtocolError):
            udp.read_header(data)
        return
    header = udp.read_header(data)
    assert header.size == size <= len(data)
    assert udp.read_header(data[:size]) == header


# Fragments


def test_fragments_in_order_are_the_datagram() -> None:
    reassembly = Reassembly()
    assert reassembly.add(TO, 1, b"one", 0.0) is None
    assert reassembly.add(TO, 2, b"two", 1.0) is None
    assert reassembly.add(TO, 3 | LAST, b"three", 2.0) == b"onetwothree"
    assert reassembly.pieces == []


def test_a_sequence_may_have_a_single_fragment() -> None:
    assert Reassembly().add(TO, 1 | LAST, b"one", 0.0) == b"one"


def test_all_127() -> None:
    reassembly = Reassembly()
    for number in range(1, 127):
        assert reassembly.add(TO, number, bytes((number,)), 0.0) is None
    assert reassembly.add(TO, 127 | LAST, b"\x7f", 0.0) == bytes(range(1, 128))


@pytest.mark.parametrize(
    "first",
    [
        [(2, b"x", 0.0)],  # no beginning
        [(1, b"x", 0.0), (3, b"x", 0.0)],  # a gap
        [(1, b"x", 0.0), (2, b"x", PATIENCE)],  # too late
        [(LAST, b"x", 0.0)],  # fragment 0 of a sequence
        [(1, b"x", 0.0), (2, b"x", 0.0), (LAST, b"x", 0.0)],
    ],
)
def test_what_does_not_follow_abandons_the_sequence(first: list[tuple[int, bytes, float]]) -> None:
    reassembly = Reassembly()
    for number, payload, now in first:
        assert reassembly.add(TO, number, payload, now) is None
    assert reassembly.pieces == []


def test_a_lower_number_begins_again() -> None:
    reassembly = Reassembly()
    for number, payload in ((1, b"old"), (2, b"old"), (1, b"new")):
        assert reassembly.add(TO, number, payload, 0.0) is None
    assert reassembly.add(TO, 2 | LAST, b"est", 0.0) == b"newest"


def test_a_fragment_that_came_twice_counts_once() -> None:
    reassembly = Reassembly()
    for number in (1, 1, 2, 2):
        assert reassembly.add(TO, number, bytes((number,)), 0.0) is None
    assert reassembly.add(TO, 3 | LAST, b"\3", 0.0) == b"\1\2\3"


def test_a_sequence_has_one_destination() -> None:
    reassembly = Reassembly()
    reassembly.add(TO, 1, b"x", 0.0)
    assert reassembly.add(TO[:-1] + b"\x36", 2 | LAST, b"y", 0.0) is None
    assert reassembly.pieces == []


def test_a_sequence_that_began_in_time_has_the_whole_time() -> None:
    reassembly = Reassembly()
    reassembly.add(TO, 1, b"x", 100.0)
    assert reassembly.add(TO, 2 | LAST, b"y", 100.0 + PATIENCE - 0.01) == b"xy"


def test_the_rfc_wants_a_timer_of_five_seconds_at_least() -> None:
    assert PATIENCE >= 5.0


def test_a_queue_longer_than_a_datagram_is_abandoned() -> None:
    reassembly = Reassembly()
    reassembly.add(TO, 1, bytes(udp.LONGEST_PAYLOAD), 0.0)
    assert reassembly.add(TO, 2, b"x", 0.0) is None
    assert reassembly.pieces == []
    reassembly.add(TO, 1, bytes(udp.LONGEST_PAYLOAD - 1), 0.0)
    assert reassembly.add(TO, 2 | LAST, b"x", 0.0) == bytes(udp.LONGEST_PAYLOAD - 1) + b"x"


@given(st.binary(min_size=1, max_size=500), st.integers(4, 500), st.ip_addresses(), st.integers(0, 65535))
def test_what_was_cut_is_put_together(payload: bytes, size: int, address: Address, port: int) -> None:
    reassembly = Reassembly()
    pieces = udp.fragments(address.packed, port, payload, size)
    results = []
    for piece in pieces:
        header = udp.read_header(piece)
        assert (header.host, header.port) == (address, port)
        results.append(reassembly.add(piece[3 : header.size], header.fragment, piece[header.size :], 0.0))
    assert results == [None] * (len(pieces) - 1) + [payload]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([TO, TO + b"x"]), st.integers(1, 255), st.binary(max_size=3000), st.floats(0, 10)
        ),
        max_size=300,
    )
)
def test_any_fragments_stay_within_bounds(steps: list[tuple[bytes, int, bytes, float]]) -> None:
    reassembly = Reassembly()
    for to, fragment, payload, now in steps:
        whole = reassembly.add(to, fragment, payload, now)
        assert whole is None or len(whole) <= udp.LONGEST_PAYLOAD
        assert sum(map(len, reassembly.pieces)) <= udp.LONGEST_PAYLOAD
        assert len(reassembly.pieces) <= 127
