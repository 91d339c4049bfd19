from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.wire.names import BadName, read_name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"example.com", "example.com"),
        (b"Example.COM.", "example.com"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"_dmarc.example", "_dmarc.example"),
        (b"a-.example", "a-.example"),
        (b"1.example", "1.example"),
        (b"0xcafe.example", "0xcafe.example"),
        (b"localhost", "localhost"),
        (b"a" * 63, "a" * 63),
        (b".".join([b"a" * 49] * 5) + b".abc", ".".join(["a" * 49] * 5) + ".abc"),
    ],
)
def test_names_are_lowered_and_lose_their_final_dot(raw: bytes, name: str) -> None:
    assert read_name(raw) == name


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        (b"192.0.2.1", IPv4Address("192.0.2.1")),
        (b"127.0.0.1.", IPv4Address("127.0.0.1")),
        (b"2001:db8::1", IPv6Address("2001:db8::1")),
        (b"::FFFF:127.0.0.1", IPv6Address("::ffff:127.0.0.1")),
    ],
)
def test_text_that_spells_an_address_is_that_address(raw: bytes, address: object) -> None:
    assert read_name(raw) == address


# What resolvers, codecs and shells have been tricked with.
@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b".",
        b"a..b",
        b".a",
        b"a.b..",
        b"127.0.0.1\0.a.example",
        b"a\nb",
        b"\x1b[2J",
        b"\xff",
        b"a b",
        b"a%b",
        b"[::1]",
        b"a@b",
        b"a/b",
        b"a" * 64,
        b"a." * 126 + b"ab",
        b"-oX",
        b"a.-b",
        "①②⑦.⓪.⓪.①".encode(),
        "127。0。0。1".encode(),
        "ⓛocalhost".encode(),
        "local\u00adhost".encode(),
        b"127.1",
        b"127.0.1",
        b"0x7f.1",
        b"0X7F000001",
        b"0177.0.0.1",
        b"017700000001",
        b"2130706433",
        b"127.0.0.01",
        b"0",
        b"00",
        b"1",
        b"0x0",
        b"0x",
        b"4294967295",
        b"169.254.43518",
        b"2852039166",
        b"127.1.",
        b"1.2.3.4.5",
        b"example.1",
        b"127.0.0.1 foo",
        b"::1%1",
        b"::1%lo",
        b"::1.",
        b"1:2",
        b"\xff::1",
    ],
)
def test_everything_else_is_refused(raw: bytes) -> None:
    with pytest.raises(BadName):
        read_name(raw)


@given(st.binary(max_size=260))
def test_any_bytes_are_a_name_an_address_or_a_bad_name(raw: bytes) -> None:
    try:
        name = read_name(raw)
    except BadName:
        return
    if isinstance(name, str):
        assert name == name.lower()
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-")
        assert all(0 < len(label) <= 63 for label in name.split("."))
