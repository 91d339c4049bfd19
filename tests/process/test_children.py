from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.slots import Slots
from forksocks.process import pulse, restarts
from forksocks.process.children import Child, describe_end
from forksocks.process.restarts import PAUSES, STABLE


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(restarts, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child("worker", 3, passwords=True, board=Board.make())
    yield made
    made.close()


def lives_and_dies(child: Child) -> float:
    ours, theirs = socket.socketpair()
    theirs.close()
    child.born(12345, ours)
    pause = child.died()
    assert ours.fileno() == -1
    return pause


def test_who_keeps_dying_waits_longer_up_to_a_limit(child: Child, clock: list[float]) -> None:
    pauses = [lives_and_dies(child) for _ in range(len(PAUSES) + 2)]
    assert pauses == [*PAUSES, PAUSES[-1], PAUSES[-1]]
    assert child.restarts.not_before == clock[0] + PAUSES[-1]


def test_who_lived_long_is_replaced_at_once_again(child: Child, clock: list[float]) -> None:
    for _ in range(4):
        lives_and_dies(child)
    ours, theirs = socket.socketpair()
    theirs.close()
    child.born(12345, ours)
    clock[0] += STABLE
    assert child.died() == 0.0
    assert lives_and_dies(child) == PAUSES[1]


def test_a_fork_that_failed_counts_as_a_death(child: Child) -> None:
    assert [child.died() for _ in range(3)] == list(PAUSES[:3])


def test_its_channels_stay_over_its_deaths(child: Child) -> None:
    before = child.names
    lives_and_dies(child)
    assert child.names is before
    asking, answering = before[0]
    asking.send(b"a question that waits")
    assert answering.recv(100) == b"a question that waits"


def test_nobody_is_signalled_when_there_is_nobody(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("a stranger was signalled"))
    child.signal(signal.SIGKILL)
    lives_and_dies(child)
    child.signal(signal.SIGKILL)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (0, "exit status 0"), (3 << 8, "exit status 3"), (signal.SIGSEGV, "killed by SIGSEGV"),
        (signal.SIGKILL | 0x80, "killed by SIGKILL"), (64, "killed by SIGRTMAX"), (40, "killed by signal 40"),
    ],
)  # fmt: skip
def test_how_it_ended_in_words(status: int, said: str) -> None:
    assert describe_end(status) == said


@pytest.mark.parametrize(
    ("works_each", "found"),
    [(None, 30), (40, 30), (10, 4 * 30), (1, 4 * 30)],
    ids=["never", "too rarely", "sometimes", "always"],
)
def test_a_silent_worker_hangs_later_while_its_sessions_move_bytes(
    monkeypatch: pytest.MonkeyPatch, works_each: int | None, found: int
) -> None:
    now = [1000.0]
    monkeypatch.setattr(pulse, "monotonic", lambda: now[0])
    board = Board.make(["lan"], 2)
    child = Child("worker", 1, passwords=False, board=board)
    slots = Slots(board)
    slot = slots.take(0)
    slot.begin(1, "192.0.2.1:1")
    seconds = 0
    child.hangs(30.0)  # its first heartbeat
    while not child.hangs(30.0):
        seconds += 1
        now[0] += 1
        if works_each and seconds % works_each == 0:
            slot.cells[slot.up] += 7
    assert seconds == found
    del slot, slots  # their views of the board
    child.close()
