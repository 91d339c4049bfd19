from __future__ import annotations

import threading
from ipaddress import ip_address

import pytest

from forksocks.config.model import Address
from forksocks.host.deadline import Deadline
from forksocks.traffic.lookups import Lookups
from forksocks.traffic.resolve import LookupFailed

FOUND = ip_address("192.0.2.1")
LONG = 60.0


class Answers:
    """Takes what was told, and waits for it."""

    def __init__(self) -> None:
        self._told = threading.Semaphore(0)
        self.all: list[list[Address]] = []

    def __call__(self, addresses: list[Address]) -> None:
        self.all.append(addresses)
        self._told.release()

    def wait(self) -> None:
        assert self._told.acquire(timeout=LONG)


@pytest.mark.parametrize(
    ("error", "told"),
    [(None, [FOUND]), (LookupFailed("no"), []), (TimeoutError(), []), (ConnectionError(), [])],
)
def test_an_answer_is_told_whatever_it_is(error: Exception | None, told: list[Address]) -> None:
    def resolve(name: str, client: Address | None, deadline: Deadline) -> list[Address]:
        assert name == "a.example"
        assert 0 < deadline.remaining() <= LONG
        if error:
            raise error
        return [FOUND]

    lookups, answers = Lookups(resolve, 1), Answers()
    for _ in range(3):  # each gives its place back before it tells
        assert lookups.start("a.example", None, LONG, answers)
        answers.wait()
    assert answers.all == [told] * 3


def test_they_are_bounded() -> None:
    go = threading.Event()

    def resolve(name: str, client: Address | None, deadline: Deadline) -> list[Address]:
        assert go.wait(LONG)
        return [FOUND]

    lookups, answers = Lookups(resolve, 2), Answers()
    assert [lookups.start("a", None, LONG, answers) for _ in range(3)] == [True, True, False]
    go.set()
    for _ in range(2):
        answers.wait()
    assert lookups.start("a", None, LONG, answers)
    answers.wait()


def test_without_a_thread_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    lookups, answers = Lookups(lambda name, client, deadline: [FOUND], 1), Answers()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert not lookups.start("a", None, LONG, answers)
    assert lookups.start("a", None, LONG, answers)
    answers.wait()
    assert answers.all == [[FOUND]]
