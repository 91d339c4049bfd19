from __future__ import annotations

from ipaddress import ip_address

import pytest

from forksocks.access.handshakes import MOMENT, Handshakes, Stranger
from forksocks.host.causes import Cause


class Session:
    def __init__(self) -> None:
        self.aborted: Cause | None = None

    def abort(self, cause: Cause) -> None:
        self.aborted = cause


class House:
    """A worker of 32 threads; `tunnels` of them serve clients that were let in."""

    def __init__(self) -> None:
        self.tunnels = 0
        self.present = 0  # a thread serves before its handshake begins
        self.inside: list[tuple[Stranger, Session]] = []
        self.now = 1000.0
        self.handshakes = Handshakes(32, lambda: self.tunnels + self.present, lambda: self.now)

    def come(self, address: str | None) -> Session:
        session = Session()
        self.present += 1
        stranger = self.handshakes.enter(None if address is None else ip_address(address), session)
        self.inside.append((stranger, session))
        return session

    def hear(self, session: Session) -> None:
        """It has said something, and is waited for again."""
        self.listen(session)
        self.stranger(session).awaited(self.now)

    def listen(self, session: Session) -> None:
        """It has said something, and waits for us."""
        self.stranger(session).spoke(self.now)

    def stranger(self, session: Session) -> Stranger:
        return next(stranger for stranger, each in self.inside if each is session)

    def go(self, session: Session) -> None:
        (found,) = (each for each in self.inside if each[1] is session)
        self.inside.remove(found)
        self.present -= 1
        assert self.handshakes.leave(found[0]) is (session.aborted is None)

    def is_crowded(self, session: Session) -> bool:
        return self.handshakes.crowded(self.stranger(session))


@pytest.fixture
def house() -> House:
    return House()


def test_few_strangers_have_all_their_time(house: House) -> None:
    sessions = [house.come(f"192.0.2.{number}") for number in range(15)]
    assert not any(house.is_crowded(session) for session in sessions)
    assert not any(session.aborted for session in sessions)


@pytest.mark.parametrize("network", ["192.0.2.1 192.0.2.1", "2001:db8::1 2001:db8::2:0:0:1"])
def test_more_than_an_eighth_from_one_network_are_a_crowd(house: House, network: str) -> None:
    one, other = network.split()
    many = [house.come(one if number % 2 else other) for number in range(5)]
    stranger = house.come("198.51.100.1")
    neighbour = house.come("2001:db8:0:1::1")
    assert all(house.is_crowded(session) for session in many)
    assert not house.is_crowded(stranger)
    assert not house.is_crowded(neighbour)
    house.go(many[0])
    assert not any(house.is_crowded(session) for session in many[1:])


def test_beyond_half_of_the_threads_one_makes_room_for_each_that_comes(house: House) -> None:
    first = [house.come(f"192.0.2.{number}") for number in range(16)]
    assert not any(session.aborted for session in first)
    assert all(house.is_crowded(session) for session in first)
    house.now += MOMENT
    house.come("198.51.100.1")
    assert [session.aborted for session in first] == [Cause.CROWDED, *[None] * 15], "the longest here goes"
    house.come("198.51.100.2")
    assert [session.aborted for session in first[1:]] == [Cause.CROWDED, *[None] * 14]


def test_the_most_crowded_network_makes_room_first(house: House) -> None:
    early = [house.come(f"192.0.2.{number}") for number in range(4)]
    flood = [house.come("203.0.113.1") for _ in range(12)]
    house.now += MOMENT
    for number in range(7):
        assert not house.come("198.51.100.1" if number % 2 else "203.0.113.1").aborted
    assert sum(session.aborted is Cause.CROWDED for session in flood) == 7
    assert not any(session.aborted for session in early)


def test_the_last_thread_is_never_a_silent_ones_for_long(house: House) -> None:
    house.tunnels = 29
    silent = house.come("192.0.2.1")
    other = house.come("192.0.2.2")
    assert not house.is_crowded(silent)
    house.now += MOMENT
    last = house.come("192.0.2.3")
    assert [session.aborted for session in (silent, other, last)] == [Cause.CROWDED, None, None]
    assert house.is_crowded(last)


def test_a_stranger_alone_in_a_full_house_stays(house: House) -> None:
    house.tunnels = 31
    alone = house.come("192.0.2.1")
    house.now += MOMENT
    house.handshakes.make_room()
    assert not alone.aborted


def test_nobody_who_speaks_makes_room(house: House) -> None:
    """A queue that comes in at once, when many tunnels end: all are served."""
    sessions = [house.come("192.0.2.1") for _ in range(32)]
    for _ in range(5):
        house.now += MOMENT / 2
        for session in sessions:
            house.hear(session)
        house.handshakes.make_room()
    assert not any(session.aborted for session in sessions)


def test_who_waits_for_us_makes_room_where_the_silent_are_too_few(house: House) -> None:
    waiting = [house.come("203.0.113.1") for _ in range(8)]
    for session in waiting:
        house.listen(session)
    silent = [house.come(f"192.0.2.{number}") for number in range(8)]
    house.now += MOMENT
    more = [house.come(f"198.51.100.{number}") for number in range(9)]
    assert {session.aborted for session in silent} == {Cause.CROWDED}
    assert not any(session.aborted for session in waiting), "although they are a crowd, and came first"
    for session in more:
        house.listen(session)
    house.now += MOMENT
    house.come("198.51.100.99")
    assert [session.aborted for session in waiting] == [Cause.CROWDED, *[None] * 7]


def test_only_the_time_that_we_wait_for_it_is_a_strangers_silence(house: House) -> None:
    session = house.come("192.0.2.1")
    stranger = house.stranger(session)
    house.now += 1
    house.listen(session)
    house.now += 100
    assert stranger.silence(house.now) == 1
    stranger.awaited(house.now)
    house.now += 2
    assert stranger.silence(house.now) == 3


def test_who_waits_for_the_silent_ends_those_that_are_too_many(house: House) -> None:
    """Without newcomers: there is no thread left that could accept one."""
    sessions = [house.come("192.0.2.1") for _ in range(32)]
    assert house.handshakes.is_tight
    house.now += MOMENT
    house.hear(sessions[0])
    house.handshakes.make_room()
    assert [session.aborted for session in sessions] == [None, *[Cause.CROWDED] * 16, *[None] * 15]


def test_who_made_room_may_leave_as_well(house: House) -> None:
    sessions = [house.come("192.0.2.1") for _ in range(16)]
    house.now += MOMENT
    sessions.append(house.come("192.0.2.1"))
    assert sessions[0].aborted
    for session in sessions:
        house.go(session)
    assert not any(house.come(None).aborted for _ in range(16))
    assert house.come(None).aborted is None
