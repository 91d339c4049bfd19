from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.wire import socks4
from forksocks.wire.messages import ProtocolError, Reply, Request
from forksocks.wire.reader import EndOfStream, Reader
from tests.wire.cutting import TAIL, Pieces, parses

REFUSED = b"\x00\x5b\x00\x00\x00\x00\x00\x00"

texts = st.binary(max_size=255).map(lambda text: text.replace(b"\0", b""))


@pytest.mark.parametrize(
    ("message", "host", "port", "user"),
    [
        (b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00", IPv4Address("192.0.2.1"), 80, b""),
        (b"\x04\x02\xff\xff\x0a\x00\x00\x01alice\x00", IPv4Address("10.0.0.1"), 65535, b"alice"),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01\x00a.example\x00", b"a.example", 80, b""),
        (
            b"\x04\x01\x00\x50\x00\x00\x00\xff" + b"u" * 255 + b"\0" + b"n" * 255 + b"\0",
            b"n" * 255,
            80,
            b"u" * 255,
        ),
        (b"\x04\x01\x00\x50\x00\x00\x00\x07\x00\x00", b"", 80, b""),
        # Not 4a: the last byte has to differ from 0, the three before it have to be 0.
        (b"\x04\x01\x00\x50\x00\x00\x00\x00me\x00", IPv4Address("0.0.0.0"), 80, b"me"),
        (b"\x04\x01\x00\x50\x00\x00\x01\x01\x00", IPv4Address("0.0.1.1"), 80, b""),
    ],
)
def test_request(message: bytes, host: IPv4Address | bytes, port: int, user: bytes) -> None:
    parses(socks4.read_request, message, (Request(message[1], host, port), user))


@pytest.mark.parametrize(
    "message",
    [
        b"\x04\x01\x00\x50\xc0\x00\x02\x01" + b"u" * 256,
        b"\x04\x01\x00\x50\x00\x00\x00\x01me\x00" + b"n" * 256,
    ],
    ids=["user id", "name"],
)
def test_a_text_that_does_not_end_is_refused_at_its_256th_byte(message: bytes) -> None:
    for source in (Pieces(message + TAIL), Pieces(*(bytes((byte,)) for byte in message))):
        with pytest.raises(ProtocolError) as caught:
            socks4.read_request(Reader(source))
        assert caught.value.answer == REFUSED
    with pytest.raises(EndOfStream):
        socks4.read_request(Reader(Pieces(message[:-1])))


def test_another_version_is_owed_nothing() -> None:
    with pytest.raises(ProtocolError) as caught:
        socks4.read_request(Reader(Pieces(b"\x05\x01\x00")))
    assert caught.value.answer == b""


@pytest.mark.parametrize("code", Reply)
def test_replies(code: Reply) -> None:
    number = 90 if code is Reply.SUCCEEDED else 91
    assert socks4.reply(code) == bytes((0, number)) + bytes(6)


def test_a_reply_has_the_port_before_the_address() -> None:
    assert (
        socks4.reply(Reply.SUCCEEDED, IPv4Address("192.0.2.1").packed, 0x1234)
        == b"\0\x5a\x12\x34\xc0\0\x02\x01"
    )


def test_an_ipv6_address_has_no_room_in_a_reply() -> None:
    assert socks4.reply(Reply.SUCCEEDED, IPv6Address("::1").packed, 80) == b"\0\x5a\0\x50\0\0\0\0"


@given(command=st.integers(0, 255), port=st.integers(0, 65535), user=texts, host=st.ip_addresses(v=4) | texts)
def test_any_request_is_read_as_it_was_written(
    command: int, port: int, user: bytes, host: IPv4Address | bytes
) -> None:
    head = bytes((4, command)) + port.to_bytes(2, "big")
    if isinstance(host, bytes):
        message = head + b"\0\0\0\x2a" + user + b"\0" + host + b"\0"
    else:
        if host.packed[:3] == bytes(3) and host.packed[3]:
            return  # means a name
        message = head + host.packed + user + b"\0"
    reader = Reader(Pieces(message + TAIL))
    assert socks4.read_request(reader) == (Request(command, host, port), user)
    assert reader.rest() == TAIL
