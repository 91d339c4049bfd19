from __future__ import annotations

import mmap
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from time import monotonic_ns

import pytest

from forksocks.host.causes import Cause
from forksocks.host.scoreboard import refusals
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.books import Books, Unsettled, see_refusals
from forksocks.host.scoreboard.layout import CELL
from forksocks.host.scoreboard.refusals import LONGEST, MOST, ROOM, SIZE, STAMP, Refusals, entries


def texts(found: list[refusals.Entry]) -> list[bytes]:
    return [text for _, text in found]


def test_the_last_ones_are_kept_and_long_ones_are_cut() -> None:
    memory = mmap.mmap(-1, SIZE)
    pen = Refusals(memory)
    assert entries(memory) == []
    for number in range(MOST + 3):
        pen.note(b"%d" % number)
    assert texts(entries(memory)) == [b"%d" % number for number in range(3, MOST + 3)]
    pen.note(b"x" * ROOM)
    assert texts(entries(memory))[-1] == b"x" * LONGEST


def test_one_that_is_being_written_or_of_the_future_is_none() -> None:
    memory = mmap.mmap(-1, SIZE)
    pen = Refusals(memory)
    pen.note(b"torn")
    pen.note(b"whole")
    pen.note(b"later")
    cells = memoryview(memory).cast("Q")
    cells[STAMP] = 0
    cells[2 * ROOM // CELL + STAMP] = monotonic_ns() + 10**12
    assert texts(entries(memory)) == [b"whole"]


@pytest.fixture
def often_switched() -> Iterator[None]:
    """Threads take turns in the middle of everything."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often_switched")
def test_threads_lose_no_entry_to_each_other() -> None:
    for _ in range(100):
        memory = mmap.mmap(-1, SIZE)
        pen = Refusals(memory)
        written = [[b"%d of %d" % (number, thread) for number in range(MOST // 4)] for thread in range(4)]
        in_threads(partial(write, pen, each) for each in written)
        assert set(texts(entries(memory))) == {text for each in written for text in each}


@pytest.mark.usefixtures("often_switched")
def test_no_entry_is_a_mixture_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST", 2)
    monkeypatch.setattr(refusals, "SIZE", 2 * ROOM)
    memory = mmap.mmap(-1, 2 * ROOM)
    pen = Refusals(memory)
    written = [b"%c" % letter * 20 * letter for letter in b"abcd"]
    found: set[bytes] = set()

    def read() -> None:
        for _ in range(30_000):
            found.update(texts(entries(memory)))

    in_threads([read, *(partial(write, pen, [text] * 30_000) for text in written)])
    assert found <= set(written)


def write(pen: Refusals, written: Iterable[bytes]) -> None:
    for text in written:
        pen.note(text)


def in_threads(jobs: Iterable[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def test_what_ended_workers_have_refused_is_kept() -> None:
    """Over deaths in any order the newest of all workers are there, each once."""
    books = Books()
    books.publish({})
    boards = {key: Board.make(("lan",), 2) for key in (1, 2)}
    pens = {key: Refusals(board.writable, board.refusals or 0) for key, board in boards.items()}
    expected = []
    for number in range(MOST):
        for key, pen in pens.items():
            expected.append(b"%d of %d" % (number, key))
            pen.note(expected[-1])
    assert texts(see_refusals(books.page, boards, books.refused)) == expected
    books.close(boards[2], Cause.WORKER_CRASH, {})
    assert texts(see_refusals(books.page, boards, books.refused)) == expected
    pens[2] = Refusals(boards[2].writable, boards[2].refusals or 0)
    pens[2].note(b"of its successor")
    books.close(boards[1], Cause.DRAINED, {})
    books.close(boards[2], Cause.DRAINED, {})
    assert texts(see_refusals(books.page, boards, books.refused)) == [
        *expected[-MOST + 1 :],
        b"of its successor",
    ]
    books.close(Board.make(), Cause.DRAINED, {})  # of a process that serves nobody
    books.page.begin()
    with pytest.raises(Unsettled):
        see_refusals(books.page, boards, books.refused)
