"""An association between real sockets: what only shows when time or a queue is in the test's hand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from forksocks.config.model import Accept, Lock, Rate, UdpConfig
from forksocks.host.causes import Cause
from forksocks.host.scoreboard import slots
from forksocks.traffic import associate
from forksocks.traffic.associate import PROBE, ROUNDS, Association, Pace
from forksocks.traffic.destinations import Terms
from tests.system.datagrams import header, is_empty, parse, port_of, udp_socket
from tests.system.processes import eventually


class Relayed:
    """An association with its client and a remote. What is sent before `begin` waits in one queue."""

    def __init__(self, config: UdpConfig) -> None:
        self.control, self.theirs = socket.socketpair()
        self.front, self.client, self.other, self.remote = (udp_socket() for _ in range(4))
        self.front.setblocking(False)
        self.slot = slots.loose()
        self.relay = ("127.0.0.1", port_of(self.front))
        terms = Terms(
            config=config, idle=lambda: 3600.0, permit=lambda name, address, port: None,
            ask=lambda name, tell: False, refused=lambda host, port, objection: None, sources={},
        )  # fmt: skip
        self.association = Association(self.theirs, self.front, "127.0.0.1", 0, terms, self.slot)
        self.causes: list[Cause] = []
        self.thread = threading.Thread(target=lambda: self.causes.append(self.association.run()))

    def send(self, payload: bytes, sock: socket.socket | None = None) -> None:
        (sock or self.client).sendto(header("127.0.0.1", port_of(self.remote)) + payload, self.relay)

    def answer(self, payload: bytes) -> tuple[bytes, tuple[str, int]]:
        """Receive at the remote, and answer with `payload`."""
        data, source = self.remote.recvfrom(65536)
        self.remote.sendto(payload, source)
        return data, source

    def begin(self) -> None:
        self.thread.start()

    def turn(self, times: int) -> None:
        """Have it turn so often, by words on the control connection, which mean nothing."""
        for _ in range(times):
            self.control.send(b"x")
            assert eventually(lambda: is_empty(self.theirs))

    def end(self) -> Cause:
        """End as a client does: the counts are final then."""
        self.control.close()
        self.thread.join()
        return self.causes[0]


@pytest.fixture
def start() -> Iterator[Callable[[UdpConfig], Relayed]]:
    made: list[Relayed] = []

    def make(config: UdpConfig) -> Relayed:
        made.append(Relayed(config))
        return made[-1]

    yield make
    for each in made:
        if each.thread.is_alive():
            each.end()
        for sock in (each.control, each.theirs, each.front, each.client, each.other, each.remote):
            sock.close()


Start = Callable[[UdpConfig], Relayed]


@pytest.mark.parametrize(("lock", "arrives"), [(Lock.PORT, [b"1", b"3"]), (Lock.ADDRESS, [b"1", b"2", b"3"])])
def test_another_port_that_waits_already_when_the_first_is_read(
    start: Start, lock: Lock, arrives: list[bytes]
) -> None:
    """Before the lock the kernel takes from everybody, so a look at each datagram has to decide."""
    relayed = start(UdpConfig(lock=lock))
    for payload, sock in ((b"1", relayed.client), (b"2", relayed.other), (b"3", relayed.client)):
        relayed.send(payload, sock)
    relayed.begin()
    assert [relayed.remote.recv(9) for _ in arrives] == arrives
    relayed.end()
    assert relayed.association.counts()["dropped"] == 3 - len(arrives)


@pytest.mark.parametrize(("accept", "dropped"), [(Accept.SENT, 1), (Accept.ANY, 0)])
def test_a_remote_is_forgotten_that_was_not_written_to_for_long(
    start: Start, monkeypatch: pytest.MonkeyPatch, accept: Accept, dropped: int
) -> None:
    monkeypatch.setattr(associate, "MEMORY", -1.0)  # by the time an answer comes it is too late
    relayed = start(UdpConfig(accept=accept))
    relayed.begin()
    relayed.send(b"hello")
    relayed.answer(b"too late")
    if accept is Accept.ANY:
        assert parse(relayed.client.recv(99)).payload == b"too late"
    else:
        assert eventually(lambda: relayed.association.dropped)
    relayed.end()
    assert relayed.association.counts()["dropped"] == dropped


def test_what_moved_is_on_the_scoreboard_and_in_the_counts(start: Start) -> None:
    relayed = start(UdpConfig())
    relayed.begin()
    for _ in range(3):
        relayed.send(b"up")
        relayed.answer(b"downwards")
        relayed.client.recv(99)
    assert relayed.end() is Cause.CLIENT_CLOSED
    assert relayed.association.moved() == (6, 27)
    assert (relayed.slot.cells[relayed.slot.up], relayed.slot.cells[relayed.slot.down]) == (6, 27)
    assert relayed.association.counts() == {"sent": 3, "received": 3, "dropped": 0, "denied": 0}


def test_a_turn_takes_what_there_is() -> None:
    pace = Pace()
    assert pace.rounds == 1
    for _ in range(PROBE - 1):
        pace.all_came()
        assert pace.rounds == 1
    for expected in (2, 4, 8, 16, 32, 64, 64):
        pace.all_came()
        assert pace.rounds == expected
    assert expected == ROUNDS


def test_beyond_its_rate_nothing_is_taken_and_its_end_is_heard(start: Start) -> None:
    relayed = start(UdpConfig(rate=Rate(1 / 3600, 5)))
    for _ in range(20):
        relayed.send(b"flood")
    relayed.begin()
    assert [relayed.remote.recv(9) for _ in range(5)] == [b"flood"] * 5
    relayed.turn(20)
    assert relayed.end() is Cause.CLIENT_CLOSED
    assert relayed.association.counts()["sent"] == 5
    assert is_empty(relayed.remote)


def test_a_rate_counts_answers_and_what_is_dropped_too(start: Start) -> None:
    relayed = start(UdpConfig(rate=Rate(1 / 3600, 4)))
    relayed.begin()
    relayed.send(b"1")
    _, source = relayed.answer(b"2")
    assert relayed.client.recv(99)
    relayed.client.sendto(b"rubbish", relayed.relay)
    assert eventually(lambda: relayed.association.dropped)
    relayed.send(b"4")
    assert relayed.remote.recv(99) == b"4"
    relayed.send(b"5")
    relayed.remote.sendto(b"6", source)
    relayed.turn(5)
    relayed.end()
    counted = relayed.association.counts()
    assert (counted["sent"], counted["received"], counted["dropped"]) == (2, 1, 1)


def test_within_its_rate_everything_passes(start: Start) -> None:
    relayed = start(UdpConfig(rate=Rate(500.0, 1)))
    for number in range(50):
        relayed.send(b"%d" % number)
    relayed.begin()
    assert [relayed.remote.recv(9) for _ in range(50)] == [b"%d" % number for number in range(50)]
