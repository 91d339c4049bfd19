"""What a client may call a host: bytes of a fixed alphabet, and nothing else ever reaches a resolver."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attacks.clients import connect
from tests.system.client import Reply
from tests.system.island import Island
from tests.system.server import Server, running

BAD_HOST = Reply(4, "0.0.0.0", 0)
DENIED = Reply(2, "0.0.0.0", 0)
WHAT_MAY_BE_ASKED = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.(?!-)[a-z0-9_-]{1,63})*")

BAD_NAMES = [
    # A resolver written in C would stop at the NUL.
    b"127.0.0.1\0.a.example", b"\0", b"a.example\0",
    b"", b".", b"..", b"a..b", b".a.example", b"a.example..",
    b"a\n.example", b"a.example\n", b"\x1b[2J", b"a\xff.example", b"a b.example", b" ", b"a%.example", b"[a]",
    b"a@b.example", b"a/b", b"a:b.example", b"a,b", b"*.example", b"a\\b", b"a'b", b'a"b', b"`id`", b"$(id)",
    b"-oX", b"a.-b.example", b"x" * 64, b"x" * 64 + b".example", b"a." * 127 + b"b", b"x" * 255,
    # Python's idna codec makes loopback of these.
    "①②⑦.⓪.⓪.①".encode(), "127。0。0。1".encode(), "ⓛocalhost".encode(), "local\xadhost".encode(),
    "bücher.example".encode(),
    # C's inet_aton takes the first word for an address; the others it calls numbers.
    b"127.0.0.1 foo", b"127.1", b"0x7f.1", b"a.0x", b"a.1", b"1.2.3.4.5", b"256.0.0.1", b"01.2.3.4", b"1.2.3",
    b"::1%lo", b"::1%1", b"::ffff:127.0.0.1%0", b":::", b"1:2", b"::1]", b"[::1]",
]  # fmt: skip


@pytest.fixture(scope="module")
def server(island: Island) -> Iterator[Server]:
    flags = ("-vv", "--workers", "1", "--allow-to", "@multicast")
    with running(*flags, inside=island.home.enter) as started:
        yield started


def ask(island: Island, server: Server, name: bytes) -> Reply:
    with connect(island, server) as client:
        assert client.greet() == 0
        return client.request(name, 80)


def test_what_is_no_name_is_never_looked_up(island: Island, server: Server) -> None:
    asked = len(island.dns.asked)
    replies = {name: ask(island, server, name) for name in BAD_NAMES}
    assert {name: reply for name, reply in replies.items() if reply != BAD_HOST} == {}
    assert len(island.dns.asked) == asked


def test_a_name_is_escaped_in_the_log(island: Island, server: Server) -> None:
    ask(island, server, b'a\n\x1b[2J\xff".example')
    server.wait_for_log(
        r' end .*client=127\.\S+ .* to="a\\x0a\\x1b\[2J\\xff\\"\.example:80" .*cause=bad-name'
    )


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (b"Example.COM.", "example.com"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"_dmarc.a_b.example", "_dmarc.a_b.example"),
        (b"a-.b--c.example", "a-.b--c.example"),
        (b"x" * 63 + b".example", "x" * 63 + ".example"),
        (b"1.2.3.4.example", "1.2.3.4.example"),
        (b"0x7f.0.0.1a", "0x7f.0.0.1a"),
        (b".".join([b"x" * 61] * 4) + b".y.z", ".".join(["x" * 61] * 4) + ".y.z"),
    ],
)
def test_names_are_asked_for_in_lower_case_and_without_the_last_dot(
    island: Island, server: Server, name: bytes, asked: str
) -> None:
    assert ask(island, server, name) == BAD_HOST
    assert {question for question, _ in island.dns.asked if question == asked} == {asked}
    server.wait_for("end", to=f"{asked}:80", cause="dns-failed")


@pytest.mark.parametrize("name", [b"127.0.0.1", b"127.0.0.1.", b"::1", b"::ffff:127.0.0.1", b"0:0::0:1"])
def test_an_address_as_text_is_judged_as_that_address(island: Island, server: Server, name: bytes) -> None:
    asked = len(island.dns.asked)
    assert ask(island, server, name) == DENIED
    assert len(island.dns.asked) == asked


PIECES = st.one_of(
    st.binary(max_size=80),
    st.sampled_from(
        [b".", b"127", b"0x7f", b"localhost", b"example", b"-", b"\0", b"%", b":", b"::1", "①".encode()]
    ),
)


@settings(max_examples=150)
@given(st.lists(PIECES, max_size=6).map(lambda pieces: b"".join(pieces)[:255]))
def test_whatever_is_asked_for_is_of_the_alphabet(island: Island, server: Server, name: bytes) -> None:
    assert ask(island, server, name) in (BAD_HOST, DENIED)
    assert all(WHAT_MAY_BE_ASKED.fullmatch(question) for question, _ in island.dns.asked)
