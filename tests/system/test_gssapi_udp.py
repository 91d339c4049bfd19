"""Datagrams in GSSAPI messages (RFC 1961 section 5) with a real Kerberos realm, through a real server."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.client import Endpoint
from tests.system.conftest import Start
from tests.system.datagrams import Datagram, header, is_empty, parse, port_of, remote, udp_socket
from tests.system.gssapi_client import (
    CONFIDENTIALITY,
    INTEGRITY,
    NONE,
    SELECTIVE,
    KerberosClient,
)
from tests.system.kerberos import REALM, configuration
from tests.system.server import Server

ALL = '"none", "integrity", "confidentiality"'
LARGEST = 65_536


class Protected:
    """An association of a client that has logged in; `messages` is what its datagrams are made from."""

    def __init__(self, client: KerberosClient, relay: Endpoint, there: socket.socket) -> None:
        self.client = client
        self.there = there
        self.sock = udp_socket()
        self._relay = relay

    def made(self, payload: bytes, encrypt: bool | None = None, fragment: int = 0) -> bytes:
        """A datagram for `there`, wrapped and not yet sent."""
        return self.client.wrapped(header("127.0.0.1", port_of(self.there), fragment) + payload, encrypt)

    def put(self, message: bytes, sock: socket.socket | None = None) -> None:
        """Send bytes as they are."""
        (sock or self.sock).sendto(message, self._relay)

    def arrives(self, payload: bytes) -> Endpoint:
        """Whether `there` gets this next; from whom."""
        data, source = self.there.recvfrom(LARGEST)
        assert data == payload
        return source[0], source[1]

    def receive(self) -> Datagram:
        return parse(self.client.unwrapped(self.sock.recv(LARGEST)))

    def exchange(self, payload: bytes) -> None:
        self.put(self.made(payload))
        self.there.sendto(payload[::-1], self.arrives(payload))
        assert self.receive() == Datagram("127.0.0.1", port_of(self.there), payload[::-1])


@contextlib.contextmanager
def associated(started: Server, level: int, sequence: bool = False) -> Iterator[Protected]:
    with KerberosClient(started.endpoint) as client, remote() as there:
        made = Protected(client, client.associate(level, sequence), there)
        with made.sock:
            yield made


@pytest.mark.parametrize("level", [NONE, INTEGRITY, CONFIDENTIALITY, SELECTIVE])
def test_datagrams_go_at_the_level_that_was_agreed_on(server: Start, keytab: Path, level: int) -> None:
    started = server(config=configuration(keytab, ALL))
    with associated(started, level) as association:
        for payload in (b"hello", b"", b"x" * 1400, b"y" * 60_000):
            association.exchange(payload)
    end = started.wait_for("end", cmd="udp", cause="client-closed", reply=0)
    assert end["user"] == f"alice@{REALM}"
    assert (end["sent"], end["received"], end["dropped"]) == ("4", "4", "0")
    assert end["up"] == end["down"] == "61405"


def test_each_message_of_a_selective_client_is_protected_as_it_likes(server: Start, keytab: Path) -> None:
    started = server(config=configuration(keytab))
    with associated(started, SELECTIVE) as association:
        for encrypt in (False, True, False):
            association.put(association.made(b"as I like", encrypt))
            association.arrives(b"as I like")


def test_nobody_on_the_way_can_read_a_datagram(server: Start, keytab: Path) -> None:
    started = server(config=configuration(keytab))
    with associated(started, CONFIDENTIALITY) as association:
        message = association.made(b"canary")
        assert b"canary" not in message
        association.put(message)
        association.there.sendto(b"canary", association.arrives(b"canary"))
        message = association.sock.recv(LARGEST)
        assert b"canary" not in message
        assert port_of(association.there).to_bytes(2, "big") not in message[:10]
        assert parse(association.client.unwrapped(message)).payload == b"canary"


def test_what_the_client_has_not_wrapped_as_agreed_decides_nothing(server: Start, keytab: Path) -> None:
    """It comes first and from the client's address, and does not fix the port either."""
    started = server(config=configuration(keytab))
    with associated(started, CONFIDENTIALITY) as association, udp_socket() as other:
        good = association.made(b"good")
        to = header("127.0.0.1", port_of(association.there))
        bad = [
            b"", b"\x01", b"\x01\x03\x00\x00", to + b"plain", good[:-1], good + b"x",
            good[:-1] + bytes((good[-1] ^ 1,)), b"\x01\x02" + good[2:], b"\x05" + good[1:],
            association.made(b"signed only", encrypt=False),
        ]  # fmt: skip
        for message in bad:
            association.put(message, other)
        association.put(good)
        association.arrives(b"good")
        association.exchange(b"and on it goes")
        assert is_empty(association.there)
        assert is_empty(other)
    end = started.wait_for("end", cmd="udp", cause="client-closed")
    assert (end["sent"], end["dropped"]) == ("2", str(len(bad)))


def test_a_datagram_may_be_lost_or_late_and_comes_once(server: Start, keytab: Path) -> None:
    started = server(config=configuration(keytab))
    with associated(started, CONFIDENTIALITY) as association:
        first, _lost, third, fourth = (association.made(bytes((number,))) for number in range(4))
        for message in (first, fourth, third, fourth, first):  # the last two somebody has overheard
            association.put(message)
        for number in (0, 3, 2):
            association.arrives(bytes((number,)))
        association.exchange(b"next")
    assert started.wait_for("end", cmd="udp")["dropped"] == "2"


def test_who_asks_for_sequence_loses_what_is_out_of_it(server: Start, keytab: Path) -> None:
    started = server(config=configuration(keytab))
    with associated(started, INTEGRITY, sequence=True) as association:
        first, _lost, third, fourth = (association.made(bytes((number,))) for number in range(4))
        for message in (first, third, fourth):
            association.put(message)
        for number in (0, 3):
            association.arrives(bytes((number,)))
        association.exchange(b"next")


def test_fragments_and_what_is_too_long_for_one_message(server: Start, keytab: Path) -> None:
    started = server(config=configuration(keytab))
    with associated(started, CONFIDENTIALITY) as association:
        association.put(association.made(b"in ", fragment=1))
        association.put(association.made(b"pieces", fragment=0x82))
        relay = association.arrives(b"in pieces")
        for size in (65_507, 65_480):  # with and without a header no message has room for it
            association.there.sendto(b"z" * size, relay)
            pieces = [association.receive() for _ in range(2)]
            assert [piece.fragment for piece in pieces] == [1, 0x82]
            assert b"".join(piece.payload for piece in pieces) == b"z" * size


def test_the_association_ends_with_its_connection(server: Start, keytab: Path) -> None:
    started = server(config=configuration(keytab))
    with associated(started, CONFIDENTIALITY) as association:
        association.exchange(b"hello")
        association.client.write(b"nothing is said here")
        association.exchange(b"still there")
        association.client.sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        started.wait_for("end", cmd="udp", cause="client-reset")
