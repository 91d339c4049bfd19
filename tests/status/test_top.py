"""Tunnels in an order, a page at a time, with how fast they go."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from forksocks.host import channels
from forksocks.host.causes import Cause
from forksocks.host.scoreboard import layout
from forksocks.status import watch as watching
from forksocks.status.answers import BadRequest
from forksocks.status.lines import Lines
from forksocks.status.top import MOST_ROWS, NUMBERS, TEXTS
from tests.status.served import Server

SECOND = 1_000_000_000


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = time.monotonic_ns()
        monkeypatch.setattr(watching, "monotonic_ns", lambda: self.now)

    def passes(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.routes.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def users(server: Server, **filters: str) -> list[str]:
    _, *rows = server.says("top", **filters)
    return [each["user"] for each in rows]


def move(slot: Any, up: int, down: int) -> None:
    slot.cells[slot.up] += up
    slot.cells[slot.down] += down


def test_a_rate_is_the_mean_since_somebody_looked(server: Server, clock: Clock) -> None:
    slot = server.carry(b"alice")
    move(slot, 5, 1_000_000)
    server.says("top")
    clock.passes(2)
    move(slot, 10, 4000)
    (head, row) = server.says("top")
    assert (row["up_rate"], row["down_rate"]) == (5, 2000)
    assert (row["up"], row["down"]) == (15, 1_004_000)
    assert head["status"]["totals"]["down"] == 1_004_000
    assert head["fit"] == 1


def test_who_looks_twice_at_once_is_told_of_the_time_before_both(server: Server, clock: Clock) -> None:
    slot = server.carry(b"alice")
    server.says("top")
    clock.passes(2)
    move(slot, 2000, 0)
    for _ in range(3):
        (_, row) = server.says("top")
        assert row["up_rate"] == 1000
        clock.passes(0)
    clock.passes(1)
    assert server.says("top")[1]["up_rate"] == 0


def test_a_session_that_was_not_there_is_measured_from_its_start(server: Server, clock: Clock) -> None:
    server.says("top")
    clock.passes(1)
    slot = server.carry(b"alice")
    slot.cells[slot.at + layout.STARTED] = clock.now - 4 * SECOND
    move(slot, 0, 4000)
    assert server.says("top")[1]["down_rate"] == 1000


def test_a_look_of_long_ago_is_forgotten(server: Server, clock: Clock) -> None:
    slot = server.carry(b"alice")
    server.says("top")
    clock.passes(watching.MOST + 1)
    slot.cells[slot.at + layout.STARTED] = clock.now - 100 * SECOND
    move(slot, 1000, 0)
    assert server.says("top")[1]["up_rate"] == 10


def test_whoever_follows_in_a_slot_inherits_no_rate(server: Server, clock: Clock) -> None:
    slot = server.carry(b"alice")
    move(slot, 1_000_000, 0)
    server.says("top")
    clock.passes(2)
    slot.end(Cause.IDLE)
    server.slots.give(slot)
    again = server.carry(b"bob")
    again.cells[again.at + layout.STARTED] = clock.now - 2 * SECOND
    move(again, 2000, 0)
    (_, row) = server.says("top")
    assert (row["user"], row["up"], row["up_rate"]) == ("bob", 2000, 1000)


def test_orders(server: Server, clock: Clock) -> None:
    slots = {name: server.carry(name.encode(), f"192.0.2.{name}:5") for name in "231"}
    server.says("top")
    clock.passes(1)
    for name, slot in slots.items():
        slot.cells[slot.at + layout.STARTED] = clock.now - int(name) * SECOND
        slot.cells[slot.at + layout.ACTIVE] = clock.now - int(name) * SECOND // 2
        move(slot, 10 * int(name), 100 * int(name))
    for order in (*NUMBERS, *TEXTS[:2]):
        expected = "123" if order in TEXTS else "321"
        assert "".join(users(server, sort=order)) == expected, order
        assert "".join(users(server, sort=f"-{order}")) == expected[::-1], order
    move(slots["1"], 10_000, 0)
    assert users(server, sort="up_rate")[0] == users(server, sort="rate")[0] == "1"
    assert users(server, sort="down_rate")[0] == "3"


def test_pages_filters_and_a_text_that_is_looked_for_everywhere(server: Server) -> None:
    for number in range(6):
        server.carry(b"user%d" % number, f"192.0.2.{number}:5000", port=80 + number)
    assert users(server, sort="user", skip="2", first="3") == ["user2", "user3", "user4"]
    assert users(server, sort="age", skip="4", first="9") == ["user4", "user5"]
    assert users(server, skip="6") == []
    assert users(server, first="0") == []
    assert server.says("top", user="user3")[0]["fit"] == 1
    assert users(server, **{"from": "192.0.2.4"}) == ["user4"]
    for text in ("uSeR5", "192.0.2.5", ":85", "w1-69255e41-6"):
        assert users(server, text=text) == ["user5"], text
    assert len(users(server, text="example.com")) == 6
    assert users(server, text="example.com", user="user2") == ["user2"]
    assert users(server, text="mallory") == []


@pytest.mark.parametrize(
    "filters",
    [{"sort": "colour"}, {"sort": ""}, {"first": str(MOST_ROWS + 1)}, {"first": "-1"}, {"first": "x"},
     {"skip": "1000001"}, {"skip": "9" * 5000}, {"skip": "²"}, {"first": ""}, {"colour": "red"}],
)  # fmt: skip
def test_what_makes_no_sense(server: Server, filters: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        server.says("top", **filters)


@pytest.mark.parametrize(
    ("said", "rtt"),
    [
        ({"client": 0.5, "target": 0.25}, (0.5, 0.25)),
        ({"client": None}, (None, None)),
        ({"client": "much", "target": [5]}, (None, None)),
        ("nonsense", (None, None)),
    ],
)
def test_what_a_worker_adds_may_be_anything(
    server: Server, said: Any, rtt: tuple[float | None, float | None]
) -> None:
    ours, theirs = channels.pair()
    asked: list[str] = []

    def answer() -> None:
        packet = theirs.recv(65536)
        tag, question = packet[: channels.TAG], json.loads(packet[channels.TAG :])
        asked.extend(question["ids"])
        told = {name: {"rule": "staff", "rtt": said} for name in question["ids"]}
        theirs.send(tag + json.dumps(told).encode())

    with ours, theirs:
        server.lines = Lines({2: ours})
        for _ in range(3):
            server.carry(b"alice")
        worker = threading.Thread(target=answer)
        worker.start()
        _, row = server.says("top", first="1")
        worker.join()
    assert (row["rule"], row["rtt"]["client"], row["rtt"]["target"]) == ("staff", *rtt)
    assert asked == [row["id"]], "only those of the page are asked about"


def test_without_a_worker_s_answer_the_rest_is_told(server: Server) -> None:
    server.carry(b"alice")
    _, row = server.says("top")
    assert (row["user"], row["rule"], row["rtt"]) == ("alice", "", {"client": None, "target": None})


def test_a_slot_that_changes_hands_meanwhile_is_left_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = server.carry(b"alice")
    server.carry(b"carol")
    moves = watching.Watch.moves

    def then_another_comes(watch: watching.Watch) -> list[watching.Move]:
        found = moves(watch)
        slot.end(Cause.IDLE)
        server.slots.give(slot)
        server.carry(b"bob")
        return found

    monkeypatch.setattr(watching.Watch, "moves", then_another_comes)
    assert users(server) == ["carol"], "nobody's rates are told as another's"
