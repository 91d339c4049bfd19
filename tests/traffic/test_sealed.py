"""A tunnel whose client side goes in GSSAPI messages: the same promises as for a plain one."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forksocks.config.model import Timeouts
from forksocks.host.causes import Cause
from forksocks.host.gss import Failed
from forksocks.traffic.relay import Relay
from forksocks.traffic.sealed import NOBODY, SealedDatagrams, SealedSocket
from tests.system.datagrams import udp_socket
from tests.traffic.test_relay import STEPS
from tests.traffic.tunnels import read_all, tcp_pair

SIZE = 5  # bytes that FakeSeal adds


class FakeSeal:
    """Numbers messages and turns their bits over: a message twice, or out of its order, is Failed."""

    def __init__(self, room: int = 3000) -> None:
        self._room = room
        self._sent = 0
        self._received = 0

    def wrap(self, data: bytes) -> bytes:
        self._sent += 1
        return self._sent.to_bytes(4, "big") + b"!" + bytes(byte ^ 0xFF for byte in data)

    def unwrap(self, token: bytes) -> bytes:
        self._received += 1
        if token[:SIZE] != self._received.to_bytes(4, "big") + b"!":
            raise Failed("not the next message")
        return bytes(byte ^ 0xFF for byte in token[SIZE:])

    def room(self, longest: int) -> int:
        return min(self._room, longest - SIZE)


def sealed(sock: socket.socket, room: int = 3000) -> SealedSocket:
    seal: Any = FakeSeal(room)
    return SealedSocket(sock, seal)


class Tunnel:
    """A running relay between a sealed client and a plain target, and the far ends of both."""

    def __init__(self, room: int, plain_client: bool, limits: Timeouts) -> None:
        client, near_client = tcp_pair()
        near_target, self.target = tcp_pair()
        for sock in (client, near_client, near_target, self.target):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        self.client = client if plain_client else sealed(client, room)
        near = sealed(near_client, room)
        self.relay = Relay(near, near_target, b"", limits, None)
        self.causes: list[Cause] = []

        def run() -> None:
            self.causes.append(self.relay.run())
            near.close()
            near_target.close()

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def cause(self) -> Cause:
        self.thread.join(60)
        assert not self.thread.is_alive(), "the relay did not end"
        return self.causes[0]


@contextlib.contextmanager
def tunnel(room: int = 3000, plain_client: bool = False, limits: Timeouts | None = None) -> Iterator[Tunnel]:
    made = Tunnel(room, plain_client, limits or Timeouts())
    try:
        yield made
    finally:
        made.client.close()
        made.target.close()
        made.thread.join(60)


def send_all(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("room", [100, 3000, 65530])
def test_much_goes_both_ways_and_is_counted_as_data(room: int) -> None:
    up, down = os.urandom(150_000), os.urandom(200_000)
    with tunnel(room) as t:
        got: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: got.append(read_all(t.target))),
            threading.Thread(target=send_all, args=(t.client, up)),
            threading.Thread(target=send_all, args=(t.target, down)),
        ]
        for thread in threads:
            thread.start()
        assert read_all(t.client) == down
        for thread in threads:
            thread.join(60)
        assert got == [up]
        t.cause()
        assert t.relay.moved() == (len(up), len(down))


def test_a_half_close_ends_one_direction_only() -> None:
    with tunnel() as t:
        send_all(t.client, b"question")
        assert read_all(t.target) == b"question"
        send_all(t.target, b"answer")
        assert read_all(t.client) == b"answer"
        assert t.cause() is Cause.CLIENT_CLOSED


def test_a_stalled_client_loses_nothing() -> None:
    data = os.urandom(400_000)
    with tunnel() as t:
        sender = threading.Thread(target=send_all, args=(t.target, data))
        sender.start()
        select.select([t.client], [], [], 60)
        t.client.sendall(b"still here")  # the other direction goes on
        assert t.target.recv(100) == b"still here"
        assert read_all(t.client) == data
        sender.join(60)


def test_messages_may_come_byte_by_byte_or_together_or_empty() -> None:
    seal = FakeSeal()
    frames = b"".join(
        b"\x01\x03" + len(token).to_bytes(2, "big") + token
        for token in (seal.wrap(data) for data in (b"a", b"", b"bc", b"", b"d" * 300))
    )
    with tunnel(plain_client=True) as t:
        for byte in frames[:40]:
            t.client.sendall(bytes((byte,)))
        send_all(t.client, frames[40:])
        assert read_all(t.target) == b"abc" + b"d" * 300


@pytest.mark.parametrize(
    "wrong",
    [
        b"GET / HTTP/1.0\r\n\r\n", b"\x01\x03\x00\x05\0\0\0\x02!", b"\x01\x02\x00\x05\0\0\0\x01!",
        b"\x01\xff\x00\x00", b"\x01\x03\x00\x00",
    ],
)  # fmt: skip
def test_what_is_no_message_breaks_the_tunnel(wrong: bytes) -> None:
    with tunnel(plain_client=True) as t:
        t.client.sendall(wrong)
        assert t.cause() is Cause.CLIENT_RESET
        with pytest.raises(ConnectionResetError):
            t.target.recv(1)


@pytest.mark.parametrize("part", [b"\x01", b"\x01\x03\x00", b"\x01\x03\x00\x09\0\0\0\x01!12"])
def test_an_end_inside_a_message_is_no_end(part: bytes) -> None:
    with tunnel(plain_client=True) as t:
        send_all(t.client, part)
        assert t.cause() is Cause.CLIENT_RESET
        with pytest.raises(ConnectionResetError):
            t.target.recv(1)


def test_silence_ends_it() -> None:
    with tunnel(limits=Timeouts(idle=0.1)) as t:
        assert t.cause() is Cause.IDLE


@settings(max_examples=30, deadline=None)
@given(steps=STEPS, room=st.sampled_from([1000, 16384, 65000]))
def test_any_interleaving_delivers_exactly_the_bytes(steps: list[tuple[str, str, int]], room: int) -> None:
    with tunnel(room) as t:
        ends = {"client": t.client, "target": t.target}
        sent = {"client": bytearray(), "target": bytearray()}
        got: dict[str, bytes] = {}

        def read(name: str) -> None:
            time.sleep(0.005)
            got[name] = read_all(ends[name])

        def write(name: str) -> None:
            noise = random.Random(len(steps))
            for who, what, size in steps:
                if who == name and what == "end":
                    break
                if who == name and what == "write":
                    data = noise.randbytes(size)
                    sent[name] += data
                    ends[name].sendall(data)
            ends[name].shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=f, args=(n,)) for f in (read, write) for n in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        t.cause()
        assert got["target"] == bytes(sent["client"])
        assert got["client"] == bytes(sent["target"])


@pytest.fixture
def wire() -> Iterator[tuple[SealedDatagrams, SealedDatagrams, socket.socket]]:
    """Two that understand each other, and one that is on the way; nobody is connected."""
    first, second, stranger = (udp_socket() for _ in range(3))
    with contextlib.ExitStack() as stack:
        one, other = (stack.enter_context(sealed(sock)) for sock in tcp_pair())
        ends = one.protect(first), other.protect(second)
    with ends[0], ends[1], stranger:
        for end in ends:
            end.settimeout(60)
        yield *ends, stranger


Wire = tuple[SealedDatagrams, SealedDatagrams, socket.socket]


def test_datagrams_are_wrapped_and_unwrapped(wire: Wire) -> None:
    here, there, stranger = wire
    buffer = memoryview(bytearray(100))
    for data in (b"hello", b"", bytes(100)):
        assert here.sendto(data, there.getsockname()) == len(data)
        assert there.recvfrom_into(buffer) == (len(data), here.getsockname())
        assert buffer[: len(data)] == data
    here.connect(stranger.getsockname())
    assert here.send(memoryview(b"hello")) == 5
    assert stranger.recv(100) == b"\x01\x03\x00\x0a\0\0\0\x04!" + bytes(byte ^ 0xFF for byte in b"hello")


@pytest.mark.parametrize("wrong", [b"", b"hello", b"\x01\x03\0\x05\0\0\0\x02!", b"\x01\x03\0\x06\0\0\0\x01!"])
def test_a_datagram_that_was_not_wrapped_so_is_from_nobody(wire: Wire, wrong: bytes) -> None:
    here, _, stranger = wire
    buffer = memoryview(bytearray(b"before"))
    stranger.sendto(wrong, here.getsockname())
    assert here.recvfrom_into(buffer) == (0, NOBODY)
    assert bytes(buffer) == b"before"


def test_what_has_no_room_in_a_message_is_told_as_the_kernel_tells_it(wire: Wire) -> None:
    here, there, _ = wire
    for too_long in (3001, 70_000):
        with pytest.raises(OSError, match="room") as caught:
            here.sendto(bytes(too_long), there.getsockname())
        assert caught.value.errno == errno.EMSGSIZE
    assert here.sendto(bytes(3000), there.getsockname()) == 3000
