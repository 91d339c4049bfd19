from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from forksocks.verbs.top import feed as feeding
from forksocks.verbs.top.feed import Feed, Look, Wanted
from forksocks.verbs.verb import NoServer, Refused
from tests.machine import LONG
from tests.verbs.top.looks import row, status

TUNNELS = Wanted("tunnels", {"sort": "rate"})


class Answers:
    """A server that notes what it was asked; while `gate` is closed no answer comes."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.ended: list[dict[str, Any]] = [{"id": "a"}]

    def __call__(self, verb: str, filters: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        self.asked.append((verb, filters))
        assert self.gate.wait(LONG)
        if self.error:
            raise self.error
        if verb == "top":
            yield {"status": status(), "fit": 7}
            yield row("a")
        elif verb == "end":
            yield from self.ended
        else:
            yield {"user": "alice"}


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def feed(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Feed]:
    monkeypatch.setattr(feeding, "EVERY", 0.0)
    made = Feed(answers, TUNNELS)
    made.start()
    yield made
    answers.gate.set()
    made.end()


def look_of(feed: Feed, kind: str = "tunnels") -> Look:
    by = time.monotonic() + LONG
    while time.monotonic() < by:
        look, _, _ = feed.news()
        if look is not None and look.wanted.kind == kind:
            return look
        time.sleep(0.001)
    raise AssertionError("no look came")


def said_by(feed: Feed) -> str:
    by = time.monotonic() + LONG
    while time.monotonic() < by:
        _, said, _ = feed.news()
        if said:
            return said
        time.sleep(0.001)
    raise AssertionError("nothing was said")


def test_looks_come_again_and_again(feed: Feed) -> None:
    for _ in range(3):
        look = look_of(feed)
        assert (look.fit, look.rows[0]["id"], look.status["version"]) == (7, "a", "1.2")


def test_of_another_kind_all_rows_come(feed: Feed, answers: Answers) -> None:
    feed.want(Wanted("users", {"first": "0"}))
    assert look_of(feed, "users").rows == [{"user": "alice"}]
    assert ("users", {}) in answers.asked
    feed.want(Wanted("workers", {"first": "0"}))
    assert look_of(feed, "workers").rows[0]["pid"] == 7


def test_a_tunnel_is_ended_and_what_came_of_it_is_said(feed: Feed, answers: Answers) -> None:
    feed.end_tunnel("w1-1-1")
    assert said_by(feed) == "ended w1-1-1"
    assert ("end", {"id": "w1-1-1"}) in answers.asked
    answers.ended = []
    feed.end_tunnel("w1-1-2")
    assert said_by(feed) == "w1-1-2 had ended already"


@pytest.mark.parametrize(
    ("error", "why"),
    [(Refused("only root"), "only root"), (NoServer("gone"), "gone"), (KeyError("x"), "version")],
)
def test_an_error_is_told_until_it_is_mended(
    feed: Feed, answers: Answers, error: Exception, why: str
) -> None:
    look_of(feed)
    answers.error = error
    by = time.monotonic() + LONG
    while why not in feed.news()[2]:
        assert time.monotonic() < by
        time.sleep(0.001)
    answers.error = None
    while feed.news()[2]:
        assert time.monotonic() < by
        time.sleep(0.001)
    assert look_of(feed).fit == 7


def test_who_may_not_end_it_hears_so(feed: Feed, answers: Answers) -> None:
    look_of(feed)
    answers.error = Refused("only root may do this")
    feed.end_tunnel("w1-1-1")
    assert "only root" in said_by(feed)


def test_frozen_nothing_is_asked_but_what_the_user_orders(feed: Feed, answers: Answers) -> None:
    feed.freeze(True)
    feed.end_tunnel("w1-1-1")
    said_by(feed)  # whatever was under way has been answered
    before = len(answers.asked)
    feed.end_tunnel("w1-1-2")
    said_by(feed)
    assert [verb for verb, _ in answers.asked[before:]] == ["end", "top"]
    while feed.news()[0] is not None:
        time.sleep(0.001)
    feed.freeze(False)
    look_of(feed)


def test_a_slow_server_is_asked_less_often() -> None:
    assert feeding.pause_after(0.25) == 0.25 * feeding.SHARE
    assert feeding.pause_after(0.01) == feeding.EVERY - 0.01
