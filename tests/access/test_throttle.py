from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forksocks.access import throttle
from forksocks.access.throttle import PAUSE, Ban, Kind, Throttle
from forksocks.config.load import load_text
from forksocks.config.model import LockoutConfig
from forksocks.config.problems import ConfigError

CONFIG = LockoutConfig(failures=3, window=60.0, ban=100.0, max_ban=1000.0)
HOME, AWAY = ip_address("192.0.2.1"), ip_address("198.51.100.9")


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def made(clock: Clock, config: LockoutConfig = CONFIG) -> Throttle:
    return Throttle(config, clock)


def fail(made: Throttle, times: int, user: bytes = b"alice", client: object = HOME) -> list[Ban]:
    return [ban for _ in range(times) for ban in made.failed(user, client)]  # type: ignore[arg-type]


def test_enough_failures_ban_the_network_and_the_name(clock: Clock) -> None:
    guard = made(clock)
    assert fail(guard, 2) == []
    assert guard.ban(b"alice", HOME) is None
    assert fail(guard, 1) == [Ban(Kind.NETWORK, 100.0), Ban(Kind.USER, 100.0)]
    assert guard.ban(b"bob", HOME) == Ban(Kind.NETWORK, 100.0)
    assert guard.ban(b"alice", AWAY) == Ban(Kind.USER, 100.0)
    assert guard.ban(b"bob", AWAY) is None
    clock.now += 99
    assert guard.ban(b"alice", AWAY) == Ban(Kind.USER, 1.0)
    clock.now += 1
    assert guard.ban(b"alice", HOME) is None


def test_spraying_names_bans_the_network_and_guessing_from_many_places_bans_the_name(clock: Clock) -> None:
    guard = made(clock)
    sprayed = [ban for n in range(3) for ban in guard.failed(b"user%d" % n, HOME)]
    assert sprayed == [Ban(Kind.NETWORK, 100.0)]
    spread = [ban for n in range(3) for ban in guard.failed(b"carol", ip_address(f"203.0.113.{n}"))]
    assert spread == [Ban(Kind.USER, 100.0)]


def test_failures_of_another_window_do_not_count(clock: Clock) -> None:
    guard = made(clock)
    for _ in range(5):
        assert fail(guard, 2) == []
        clock.now += 60


def test_bans_grow_up_to_the_longest_and_are_forgotten_after_a_long_quiet_time(clock: Clock) -> None:
    guard = made(clock)
    lengths = []
    for _ in range(6):
        lengths.append(fail(guard, 3)[0].seconds)
        clock.now += lengths[-1]
    assert lengths == [100.0, 200.0, 400.0, 800.0, 1000.0, 1000.0]
    clock.now += throttle.MEMORY * CONFIG.max_ban
    assert fail(guard, 3)[0].seconds == 100.0


def test_who_has_logged_in_from_there_is_not_locked_out_by_others(clock: Clock) -> None:
    guard = made(clock)
    guard.succeeded(b"alice", HOME)
    for number in range(10_000):
        guard.failed(b"alice", ip_address(f"203.0.{number % 250}.{number // 250}"))
    assert guard.ban(b"alice", AWAY) is not None
    fail(guard, 30, b"mallory", HOME)
    assert guard.ban(b"bob", HOME) is not None
    assert guard.ban(b"alice", HOME) is None


def test_who_is_known_there_is_held_up_for_seconds_at_most(clock: Clock) -> None:
    guard = made(clock)
    guard.succeeded(b"alice", HOME)
    for _ in range(5):
        assert fail(guard, 3) == [Ban(Kind.PAIR, PAUSE)]
        assert guard.ban(b"alice", HOME) == Ban(Kind.PAIR, PAUSE)
        assert guard.ban(b"bob", HOME) is None
        clock.now += PAUSE
    guard.succeeded(b"alice", HOME)
    assert fail(guard, 2) == []


def test_a_network_is_an_address_or_a_64(clock: Clock) -> None:
    guard = made(clock)
    fail(guard, 3, client=ip_address("2a00:1::1"))
    assert guard.ban(b"x", ip_address("2a00:1::ffff:1")) is not None
    assert guard.ban(b"x", ip_address("2a00:1:0:1::1")) is None
    fail(guard, 3, b"y", None)
    assert guard.ban(b"x", None) is not None


def test_no_failures_ban_where_none_are_configured(clock: Clock) -> None:
    guard = made(clock, LockoutConfig(failures=0))
    assert fail(guard, 100) == []
    assert guard.ban(b"alice", HOME) is None


def test_as_many_failures_as_may_be_allowed_are_counted_and_kept(clock: Clock) -> None:
    with pytest.raises(ConfigError, match="failures must be a whole number from 0 to 65535"):
        load_text("[auth]\nlockout = { failures = 65536 }\n")
    guard = made(clock, load_text("[auth]\nlockout = { failures = 65535 }\n").config.auth.lockout)
    assert fail(guard, 65_534) == []
    other = made(clock, LockoutConfig(failures=65_535))
    other.load(guard.dump(1 << 20))
    assert [ban.kind for ban in fail(other, 1)] == [Kind.NETWORK, Kind.USER]


def test_what_is_kept_is_bounded_and_the_latest_stay(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MOST", 10)
    guard = made(clock)
    fail(guard, 3)
    for number in range(100):
        guard.failed(b"u%d" % number, ip_address(f"203.0.113.{number}"))
    assert len(guard.dump(1 << 20)) == len(guard.dump(10 * throttle._RECORD.size))  # noqa: SLF001
    assert guard.ban(b"alice", HOME) is None
    fail(guard, 3)
    assert guard.ban(b"alice", HOME) is not None


def test_another_process_goes_on_where_this_one_was(clock: Clock) -> None:
    guard = made(clock)
    fail(guard, 3)
    fail(guard, 2, b"carol", AWAY)
    guard.succeeded(b"dave", HOME)
    other = made(clock)
    other.load(guard.dump(1 << 20))
    assert list(other.bans()) == list(guard.bans())
    assert [(each.network, each.user) for each in other.bans()] == [(int(HOME), b""), (None, b"alice")]
    assert other.ban(b"dave", HOME) is None
    assert [ban.kind for ban in fail(other, 1, b"carol", AWAY)] == [Kind.NETWORK, Kind.USER]


def test_a_dump_without_room_has_the_latest(clock: Clock) -> None:
    guard = made(clock)
    fail(guard, 3, b"old", AWAY)
    fail(guard, 3)
    other = made(clock)
    other.load(guard.dump(2 * throttle._RECORD.size + len(b"alice") + 1))  # noqa: SLF001
    assert other.ban(b"alice", HOME) is not None
    assert other.ban(b"old", AWAY) is None


@given(st.binary(max_size=400))
@settings(max_examples=200)
def test_any_bytes_are_loaded_or_left_out(dumped: bytes) -> None:
    guard = made(Clock())
    guard.load(dumped)
    fail(guard, 5)
    list(guard.bans())
    guard.dump(1 << 20)


def test_a_dump_from_the_future_bans_nobody_for_ever(clock: Clock) -> None:
    guard = made(clock)
    fail(guard, 3)
    clock.now -= 10_000
    other = made(clock)
    other.load(guard.dump(1 << 20))
    assert other.ban(b"alice", HOME) is None
