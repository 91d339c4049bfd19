from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.wire import socks5
from forksocks.wire.messages import Address, Command, Method, ProtocolError, Reply, Request
from forksocks.wire.reader import EndOfStream, Reader
from tests.wire.cutting import TAIL, Pieces, parses

PARSERS: tuple[Callable[[Reader], object], ...] = (
    socks5.read_methods,
    socks5.read_credentials,
    socks5.read_request,
)

addresses: st.SearchStrategy[Address] = st.ip_addresses()
ports = st.integers(0, 65535)


def refused(parse: Callable[[Reader], object], message: bytes, answer: bytes) -> None:
    """`message` is a ProtocolError that owes the client `answer`, and what follows it stays unread."""
    for source in (Pieces(message + TAIL), Pieces(*(bytes((byte,)) for byte in message))):
        with pytest.raises(ProtocolError) as caught:
            parse(Reader(source))
        assert caught.value.answer == answer


# The greeting


@pytest.mark.parametrize("methods", [b"\x00", b"\x00\x02", b"\x02\x01\x00", b"\xff", bytes(range(255))])
def test_greeting(methods: bytes) -> None:
    parses(socks5.read_methods, bytes((5, len(methods))) + methods, methods)


def test_greeting_without_methods_is_owed_the_answer_that_none_is_acceptable() -> None:
    refused(socks5.read_methods, b"\x05\x00", b"\x05\xff")


@pytest.mark.parametrize("start", [b"\x04\x01", b"GE", b"\x16\x03", b"\x00\x00", b"\x06\x01"])
def test_other_protocols_are_owed_nothing(start: bytes) -> None:
    refused(socks5.read_methods, start, b"")


def test_method_selections() -> None:
    assert socks5.method_selection(Method.NONE) == b"\x05\x00"
    assert socks5.method_selection(Method.PASSWORD) == b"\x05\x02"
    assert socks5.method_selection(Method.NO_ACCEPTABLE) == b"\x05\xff"


# Name and password


@pytest.mark.parametrize(
    ("name", "password"),
    [(b"u", b"p"), (b"alice", b"secret"), (b"\x00\xff:\n", b"\x00"), (b"n" * 255, bytes(range(1, 256)))],
)
def test_credentials(name: bytes, password: bytes) -> None:
    message = b"\x01" + bytes((len(name),)) + name + bytes((len(password),)) + password
    parses(socks5.read_credentials, message, (name, password))


@pytest.mark.parametrize("message", [b"\x01\x00\x01p", b"\x01\x01u\x00", b"\x01\x00\x00", b"\x05\x01"])
def test_bad_credentials_are_owed_a_refusal(message: bytes) -> None:
    refused(socks5.read_credentials, message, b"\x01\x01")


def test_password_answers() -> None:
    assert socks5.PASSWORD_ACCEPTED == b"\x01\x00"
    assert socks5.PASSWORD_REFUSED == b"\x01\x01"


# The request


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        (b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50", Request(1, IPv4Address("192.0.2.1"), 80)),
        (b"\x05\x02\x00\x03\x01a\xff\xff", Request(2, b"a", 65535)),
        (b"\x05\x03\x00\x03\x00\x00\x00", Request(3, b"", 0)),
        (b"\x05\x01\x00\x03\xff" + b"n" * 255 + b"\x01\xbb", Request(1, b"n" * 255, 443)),
        (b"\x05\x09\xee\x04" + bytes(15) + b"\x01\x04\x38", Request(9, IPv6Address("::1"), 1080)),
    ],
)
def test_request(message: bytes, request_: Request) -> None:
    parses(socks5.read_request, message, request_)


def test_request_of_another_version_is_owed_nothing() -> None:
    refused(socks5.read_request, b"\x04\x01\x00\x01", b"")


def test_unknown_address_types_are_owed_their_reply() -> None:
    for kind in set(range(256)) - {1, 3, 4}:
        refused(socks5.read_request, bytes((5, 1, 0, kind)), b"\x05\x08\x00\x01" + bytes(6))


@given(command=st.integers(0, 255), host=addresses | st.binary(max_size=255), port=ports)
def test_any_request_is_read_as_it_was_written(command: int, host: Address | bytes, port: int) -> None:
    """Written here as a client would: the program itself never writes one."""
    if isinstance(host, bytes):
        packed = b"\x03" + bytes((len(host),)) + host
    else:
        packed = (b"\x01" if host.version == 4 else b"\x04") + host.packed
    reader = Reader(Pieces(bytes((5, command, 0)) + packed + port.to_bytes(2, "big") + TAIL))
    assert socks5.read_request(reader) == Request(command, host, port)
    assert reader.rest() == TAIL


# Replies


@pytest.mark.parametrize("code", Reply)
def test_replies_without_an_address(code: Reply) -> None:
    assert socks5.reply(code) == bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0))


def test_codes_are_those_of_rfc_1928() -> None:
    assert [code.value for code in Reply] == list(range(9))
    assert [command.value for command in Command] == [1, 2, 3, 0xF0, 0xF1]  # the last two are Tor's
    assert (Reply.NOT_ALLOWED, Reply.NETWORK_UNREACHABLE, Reply.HOST_UNREACHABLE) == (2, 3, 4)
    assert (Reply.CONNECTION_REFUSED, Reply.TTL_EXPIRED) == (5, 6)
    assert (Reply.COMMAND_NOT_SUPPORTED, Reply.ADDRESS_TYPE_NOT_SUPPORTED) == (7, 8)


@given(code=st.sampled_from(Reply), bound=addresses, port=ports)
def test_a_reply_says_where_we_are_bound(code: Reply, bound: Address, port: int) -> None:
    message = socks5.reply(code, bound.packed, port)
    reader = Reader(Pieces(message + TAIL))
    # A reply has the form of a request (RFC 1928 sections 4 and 6).
    assert socks5.read_request(reader) == Request(code, bound, port)
    assert reader.rest() == TAIL


# Anything


@given(parse=st.sampled_from(PARSERS), data=st.binary(max_size=600), size=st.integers(1, 600))
def test_any_bytes_parse_or_raise_a_known_error(
    parse: Callable[[Reader], object], data: bytes, size: int
) -> None:
    """And how they were cut makes no difference."""
    whole = outcome(parse, data, len(data))
    assert outcome(parse, data, size) == whole
    if whole[0] == "parsed":
        assert outcome(parse, data + TAIL, size) == (*whole[:2], whole[2] + TAIL)


def outcome(parse: Callable[[Reader], object], data: bytes, size: int) -> tuple[str, object, bytes]:
    pieces = Pieces(*(data[at : at + size] for at in range(0, len(data), max(1, size))))
    reader = Reader(pieces)
    try:
        parsed = parse(reader)
    except EndOfStream:
        return "ended", None, b""
    except ProtocolError as error:
        return "refused", (str(error), error.answer), b""
    rest = reader.rest()
    while piece := pieces(4096):
        rest += piece
    return "parsed", parsed, rest
