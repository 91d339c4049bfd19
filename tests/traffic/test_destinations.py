"""Where datagrams go: what is decided once, what again, and what is bounded."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from forksocks.config.model import Address, UdpConfig
from forksocks.traffic import names, peers
from forksocks.traffic.destinations import MOST_REFUSED, Destinations, Terms
from forksocks.traffic.peers import JUDGED, Peer, Peers
from tests.system.datagrams import header

V4, V6 = ip_address("192.0.2.1"), ip_address("2001:db8::1")
Tell = Callable[[list[Address]], None]


class World:
    """What an association asks of the others, and how often it did."""

    def __init__(self) -> None:
        self.judged: list[tuple[str | None, Address | None, int]] = []
        self.refused: list[tuple[Address | str, int, str]] = []
        self.asked: dict[str, Tell] = {}
        self.watched: list[socket.socket | int] = []
        self.closed: set[Address | str | None] = set()
        self.has_room = True
        terms = Terms(UdpConfig(), lambda: 60.0, self.permit, self.ask, self.refuse, {})
        self.to = Destinations(terms, ("127.0.0.1", 1080), self.watched.append)

    def permit(self, name: str | None, address: Address | None, port: int) -> str | None:
        self.judged.append((name, address, port))
        return "closed" if self.closed & {name, address} else None

    def ask(self, name: str, tell: Tell) -> bool:
        if self.has_room:
            self.asked[name] = tell
        return self.has_room

    def refuse(self, host: Address | str, port: int, objection: str) -> None:
        self.refused.append((host, port, objection))

    def find(
        self, host: Address | bytes, port: int = 53, now: float = 0.0, payload: bytes = b"x"
    ) -> Peer | None:
        text = host if isinstance(host, bytes) else str(host)
        return self.to.find(header(text, port), host, port, payload, now)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.to.close()


def test_a_decision_holds_for_a_while(world: World) -> None:
    peer = world.find(V4)
    assert peer is not None
    assert peer.remote == ("192.0.2.1", 53)
    assert peer.header == header("192.0.2.1", 53)
    assert world.find(V4, now=JUDGED) is peer
    assert len(world.judged) == 1
    assert world.find(V4, now=JUDGED + 1) is peer
    assert world.judged == [(None, V4, 53)] * 2


def test_what_was_closed_meanwhile_is_closed(world: World) -> None:
    assert world.find(V4)
    world.closed.add(V4)
    assert world.find(V4, now=JUDGED + 1) is None
    assert (world.to.dropped, world.to.denied) == (1, 1)


def test_a_refusal_is_told_once_and_holds_for_a_while(world: World) -> None:
    world.closed |= {V4, V6}
    for now in (0.0, 1.0, 2.0):
        assert world.find(V4, now=now) is None
    assert world.find(V6) is None
    assert world.judged == [(None, V4, 53), (None, V6, 53)]
    assert world.refused == [(V4, 53, "closed")]
    assert (world.to.dropped, world.to.denied) == (4, 4)
    world.closed.clear()
    assert world.find(V4, now=JUDGED + 1)


def test_refusals_that_are_remembered_are_bounded(world: World) -> None:
    world.closed.add(V4)
    for port in range(1, 3 * MOST_REFUSED):
        assert world.find(V4, port) is None
    assert len(world.to._refused) <= MOST_REFUSED  # noqa: SLF001 - nobody else can see it


def test_port_0_own_port_and_bad_names_are_nowhere(world: World) -> None:
    assert world.find(V4, 0) is None
    assert world.find(ip_address("127.0.0.1"), 1080) is None
    assert world.find(ip_address("::ffff:127.0.0.1"), 1080) is None
    assert world.find(b"a b") is None
    assert world.to.dropped == 4
    assert world.to.denied == 0
    assert not world.asked


def test_one_socket_for_each_family(world: World) -> None:
    for host in (V4, V6, ip_address("192.0.2.2"), ip_address("::ffff:192.0.2.3")):
        assert world.find(host)
    families = [sock.family for sock in world.watched if isinstance(sock, socket.socket)]
    assert families == [socket.AF_INET, socket.AF_INET6]


def ring(world: World) -> bool:
    """Whether the bell rings."""
    poller = select.poll()
    (bell,) = (each for each in world.watched if isinstance(each, int))
    poller.register(bell, select.POLLIN)
    return bool(poller.poll(0))


def test_a_name_is_judged_looked_up_once_and_judged_again(world: World) -> None:
    assert world.find(b"A.example", payload=b"1") is None
    assert world.find(b"a.EXAMPLE.", payload=b"2") is None
    assert list(world.asked) == ["a.example"]
    assert world.judged == [("a.example", None, 53)] * 2
    assert not ring(world)
    world.asked.pop("a.example")([V4])
    assert ring(world)
    ready = world.to.answered(0.0)
    assert [(peer.remote, payload) for peer, payload in ready] == [
        (("192.0.2.1", 53), b"1"),
        (("192.0.2.1", 53), b"2"),
    ]
    assert world.judged[2:] == [("a.example", V4, 53)] * 2
    assert not ring(world)
    assert world.find(b"a.example") is not None  # another way to write it, and the answer is known
    assert not world.asked
    assert world.to.dropped == 0


def test_a_name_that_is_refused_is_never_looked_up(world: World) -> None:
    world.closed.add("a.example")
    assert world.find(b"a.example") is None
    assert not world.asked
    assert world.refused == [("a.example", 53, "closed")]


def test_the_first_address_that_is_open_is_taken(world: World) -> None:
    world.closed.add(V6)
    assert world.find(b"a.example") is None
    world.asked["a.example"]([V6, V4])
    assert [peer.remote for peer, _ in world.to.answered(0.0)] == [("192.0.2.1", 53)]
    assert world.to.denied == 0


def test_a_name_without_addresses_goes_nowhere_for_a_while(world: World) -> None:
    assert world.find(b"a.example") is None
    world.asked.pop("a.example")([])
    assert world.to.answered(0.0) == []
    assert world.to.dropped == 1
    assert world.find(b"a.example", now=names.KEPT_FAILURE - 1) is None
    assert not world.asked
    assert world.find(b"a.example", now=names.KEPT_FAILURE + 1) is None
    assert world.asked


def test_an_answer_is_forgotten(world: World) -> None:
    assert world.find(b"a.example") is None
    world.asked.pop("a.example")([V4])
    world.to.answered(0.0)
    assert world.find(b"a.example", now=names.KEPT - 1)
    assert world.find(b"a.example", now=names.KEPT + JUDGED + 1) is None
    assert world.asked


def test_names_that_are_asked_for_are_few(world: World) -> None:
    for number in range(names.MOST_ASKED + 2):
        assert world.find(b"%d.example" % number) is None
    assert len(world.asked) == names.MOST_ASKED
    assert world.to.dropped == 2


def test_what_waits_for_names_is_bounded(world: World) -> None:
    for _ in range(names.MOST_WAITING + 3):
        world.find(b"a.example")
    assert world.to.dropped == 3
    for _ in range(3):
        world.find(b"b.example", payload=bytes(names.MOST_BYTES // 2))
    assert world.to.dropped == 5
    world.asked["a.example"]([V4])
    assert len(world.to.answered(0.0)) == names.MOST_WAITING
    world.asked["b.example"]([V4])
    assert len(world.to.answered(0.0)) == 1
    assert world.find(b"c.example", payload=bytes(names.MOST_BYTES)) is None  # all of it is free again
    world.asked["c.example"]([V4])
    assert len(world.to.answered(0.0)) == 1


def test_names_that_are_remembered_are_bounded(world: World) -> None:
    for number in range(3 * names.MOST_NAMES):
        name = b"%d.example" % number
        world.find(name)
        world.asked.pop(name.decode())([V4])
        world.to.answered(0.0)
    assert len(world.to._names._known) <= names.MOST_NAMES  # noqa: SLF001 - nobody else can see it


def test_no_room_for_a_look_up_is_a_drop(world: World) -> None:
    world.has_room = False
    assert world.find(b"a.example") is None
    assert world.to.dropped == 1


def test_an_answer_that_comes_after_the_end_is_heard_by_nobody(world: World) -> None:
    world.find(b"a.example")
    world.to.close()
    with socket.socket() as taken:  # may have the number that the bell had
        world.asked["a.example"]([V4])
        assert taken.fileno() >= 0


# Peers


def fill(count: int) -> tuple[Peers, list[Peer]]:
    found = Peers()
    made = []
    for number in range(count):
        peer = Peer((f"10.0.{number // 256}.{number % 256}", 53), lambda payload, remote: 0)
        peer.written = float(number)
        found.remember(b"%d" % number, peer)
        made.append(peer)
    return found, made


def test_peers_are_bounded_and_those_written_to_longest_ago_go_first() -> None:
    found, made = fill(2 * peers.MOST_PEERS)
    assert len(found.remotes) <= peers.MOST_PEERS
    assert set(found.headers.values()) == set(found.remotes.values())
    kept = sorted(peer.written for peer in found.remotes.values())
    assert kept == [peer.written for peer in made[-len(kept) :]]


def test_a_peer_that_is_written_to_again_stays() -> None:
    found, made = fill(peers.MOST_PEERS)
    made[0].written = 1e9
    found.remember(b"new", Peer(("10.9.9.9", 53), lambda payload, remote: 0))
    assert made[0].remote in found.remotes
    assert made[1].remote not in found.remotes
    assert b"1" not in found.headers


def test_headers_are_bounded() -> None:
    found, (peer,) = fill(1)
    for number in range(3 * peers.MOST_HEADERS):
        found.remember(b"h%d" % number, peer)
    assert len(found.headers) <= peers.MOST_HEADERS
    assert found.remotes == {peer.remote: peer}
