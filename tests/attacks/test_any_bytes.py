"""Whatever a client sends, it gets an answer or a close: never silence for good, never a bug in the log."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.attacks.clients import connect
from tests.system import origins
from tests.system.client import credentials, greeting, request
from tests.system.island import Island
from tests.system.programs import make_user
from tests.system.server import Server, running

# Of messages that are right, and of others: pieces lead further into the protocol than bytes alone.
PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([
        greeting(), greeting(0, 2), greeting(2), greeting(1), credentials(b"alice", b"secret"),
        credentials(b"alice", b"guess"), request("8.8.8.8", 80), request("2001:4860:4860::8888", 80),
        request("a.example", 80), request("127.0.0.1", 80), request("8.8.8.8", 80, 2),
        request("0.0.0.0", 0, 3), request("a.example", 0, 0xF0), request("8.8.8.8", 0, 0xF1),
        b"\x04\x01\0\x50\x08\x08\x08\x08alice\0",
        b"\x04\x01\0\x50\0\0\0\1\0a.example\0", b"GET / HTTP/1.0\r\n\r\n", b"\x16\x03\x01", b"\x05",
        bytes(300),
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
    ]),
)  # fmt: skip
MESSAGES = st.lists(PIECES, max_size=5)


@pytest.fixture(scope="module", params=["nobody", "alice"])
def server(
    request: pytest.FixtureRequest, island: Island, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One that wants no password, and one that does; everything that they may dial is on the island."""
    users = tmp_path_factory.mktemp("users") / "users"
    make_user(users, "alice", "secret")
    island.dns.say("a.example", ["8.8.4.4"])
    known = ("--users", str(users)) if request.param == "alice" else ()
    flags = ("-vvv", "--workers", "1", "--allow-to", "@multicast", *known)
    echo = origins.serving(origins.echo, listener=island.internet.listen("::", 80))
    with echo, running(*flags, inside=island.home.enter) as started:
        yield started


@settings(max_examples=150)
@given(MESSAGES)
@example([greeting(), request("8.8.8.8", 80), b"tunnelled"])
def test_any_bytes_are_answered_or_closed(island: Island, server: Server, pieces: list[bytes]) -> None:
    with connect(island, server) as client:
        try:
            for piece in pieces:
                client.sock.sendall(piece)
            client.sock.shutdown(socket.SHUT_WR)
            client.until_end()
        except TimeoutError:
            raise AssertionError(f"neither an answer nor a close for {pieces}") from None
        except OSError:
            pass  # a close that overtook what was sent
    assert not server.events("crash")


def test_and_it_still_serves(island: Island, server: Server) -> None:
    with connect(island, server) as client:
        assert client.greet(0, 2) in (0, 2)
    assert not server.events("end", cause="crashed")
