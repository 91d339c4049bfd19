"""Claims of several workers on shared memory: never too many, and gone with whoever made them."""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from forksocks.host.scoreboard import claims
from forksocks.host.scoreboard.claims import ClaimBoard, ClaimPool, Claims

SECOND = 1_000_000_000
ALICE, BOB = 0xA11CE, 0xB0B


@pytest.fixture
def boards() -> Iterator[list[ClaimBoard]]:
    made = [ClaimBoard.make(rows=64, width=2) for _ in range(3)]
    yield made
    for board in made:
        board.close()


def pens(boards: list[ClaimBoard]) -> list[Claims]:
    return [Claims(board, boards) for board in boards]


def test_the_last_place_is_the_last(boards: list[ClaimBoard]) -> None:
    one, two, _ = pens(boards)
    taken = [(pen, pen.take_row()) for pen in (one, two, one)]
    assert [pen.claim(row, 0, ALICE, 2) for pen, row in taken] == [True, True, False]
    assert two.claim(two.take_row(), 0, BOB, 2)
    two.give_row(taken[1][1])
    assert one.claim(taken[2][1], 0, ALICE, 2)


def test_columns_are_counted_apart_by_their_keys(boards: list[ClaimBoard]) -> None:
    pen = pens(boards)[0]
    row = pen.take_row()
    assert pen.claim(row, 0, ALICE, 1)
    assert pen.claim(row, 1, BOB, 1)
    assert not pen.claim(pen.take_row(), 1, ALICE, 1)


def test_a_row_is_used_again_and_empty(boards: list[ClaimBoard]) -> None:
    pen = pens(boards)[0]
    row = pen.take_row()
    assert pen.claim(row, 0, ALICE, 1)
    pen.give_row(row)
    assert pen.take_row() == row
    assert boards[0].count(ALICE) == 0


@dataclass(frozen=True)
class Interrupted(ClaimBoard):
    """A board after whose count something else happens."""

    meanwhile: Callable[[], None]

    def count(self, key: int) -> int:
        counted = super().count(key)
        self.meanwhile()
        return counted


def test_who_claims_while_another_counts_is_refused(boards: list[ClaimBoard]) -> None:
    one, two, _ = pens(boards)
    told: list[bool] = []
    last = Interrupted(
        boards[2].writable, boards[2].readable, boards[2].rows, boards[2].width,
        meanwhile=lambda: told.append(two.claim(two.take_row(), 0, ALICE, 1)),
    )  # fmt: skip
    one = Claims(boards[0], [*boards[:2], last])
    told.append(one.claim(one.take_row(), 0, ALICE, 1))
    assert told == [False, True]


class Holders:
    """Who holds a place that was granted, where all contenders see it: each counts up at either end of it."""

    def __init__(self, contenders: int) -> None:
        self._turns = memoryview(mmap.mmap(-1, 8 * contenders)).cast("Q")

    def turn(self, contender: int) -> None:
        """It holds a place now, or does not any more."""
        self._turns[contender] += 1

    def seen(self) -> int:
        """How many hold one at this moment; 0 where it changed during the look."""
        before = self._turns.tolist()
        return sum(turns % 2 for turns in before) if before == self._turns.tolist() else 0


def contend(pen: Claims, holders: Holders, contender: int) -> int:
    """Claim and give back as fast as it goes; return how many places of 3 were held at most."""
    most = 0
    for _ in range(2000):
        row = pen.take_row()
        if pen.claim(row, 0, ALICE, 3):
            holders.turn(contender)
            time.sleep(0)  # let others in
            most = max(most, holders.seen())
            holders.turn(contender)
        pen.give_row(row)
    return most


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns a thousand times as often as they would."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 1000)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_many_threads_and_processes_never_exceed(boards: list[ClaimBoard]) -> None:
    ours, theirs = os.pipe()
    holders = Holders(6)
    children = []
    for contender, board in enumerate(boards[1:]):
        pid = os.fork()
        if pid == 0:
            os.write(theirs, bytes([contend(Claims(board, boards), holders, contender)]))
            os._exit(0)
        children.append(pid)
    pen, found = Claims(boards[0], boards), []
    threads = [
        threading.Thread(target=lambda contender=contender: found.append(contend(pen, holders, contender)))
        for contender in range(2, 6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pid in children:
        os.waitpid(pid, 0)
    found += os.read(ours, len(children))
    os.close(ours)
    os.close(theirs)
    assert len(found) == 6
    assert 1 <= max(found) <= 3
    assert sum(board.count(ALICE) for board in boards) == 0


def test_the_claims_of_a_killed_process_go_with_its_board(boards: list[ClaimBoard]) -> None:
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        pen = Claims(boards[1], boards)
        assert pen.claim(pen.take_row(), 0, ALICE, 1)
        os.write(tell, b"!")
        signal.pause()
    assert os.read(ready, 1) == b"!"
    pen = pens(boards)[0]
    row = pen.take_row()
    assert not pen.claim(row, 0, ALICE, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    boards[1].clear()
    assert pen.claim(row, 0, ALICE, 1)
    os.close(ready)
    os.close(tell)


def test_arrivals_are_counted_over_all_and_forgotten_in_time(boards: list[ClaimBoard]) -> None:
    one, two, _ = pens(boards)
    now = 100 * SECOND
    assert [pen.arrive(ALICE, now, SECOND, 4) for pen in (one, two, one, two, one, two)] == [True] * 4 + [
        False
    ] * 2
    assert one.arrive(BOB, now, SECOND, 4)
    assert not two.arrive(ALICE, now + SECOND // 2, SECOND, 4)
    assert two.arrive(ALICE, now + SECOND + SECOND // 2, SECOND, 4)
    assert [one.arrive(ALICE, now + 9 * SECOND, SECOND, 4) for _ in range(5)] == [True] * 4 + [False]


def test_over_a_long_time_the_rate_is_what_it_should_be(boards: list[ClaimBoard]) -> None:
    pen = pens(boards)[0]
    window = 2 * SECOND  # 5/s burst 10
    admitted = sum(
        pen.arrive(ALICE, 1000 * SECOND + step * SECOND // 50, window, 10) for step in range(50 * 100)
    )
    assert 0.9 * 500 <= admitted <= 1.05 * 500


def test_a_full_table_forgets_who_counts_least(boards: list[ClaimBoard]) -> None:
    pen = pens(boards)[0]
    crowd = [
        ALICE + number * claims.ARRIVALS for number in range(claims.PROBES + 1)
    ]  # all in the same places
    for _ in range(3):
        for key in crowd[:-1]:
            assert pen.arrive(key, 0, SECOND, 9)
    assert pen.arrive(crowd[0], 0, SECOND, 9)
    assert pen.arrive(crowd[-1], 0, SECOND, 9)
    assert boards[0].arrived(crowd[0], 0, SECOND) == 4
    assert boards[0].arrived(crowd[-1], 0, SECOND) == 1
    assert [boards[0].arrived(key, 0, SECOND) for key in crowd].count(0) == 1


def test_each_window_leaves_the_entries_of_others_alone(boards: list[ClaimBoard]) -> None:
    """An hour and a second in the same places: neither is judged by the other's slices."""
    pen = pens(boards)[0]
    now, hour = 500_000 * SECOND, 3600 * SECOND
    assert [pen.arrive(ALICE, now, hour, 3) for _ in range(4)] == [True, True, True, False]
    for step in range(1, claims.PROBES):
        assert pen.arrive(ALICE + step * claims.ARRIVALS, now, SECOND, 9)
    assert boards[0].arrived(ALICE, now, hour) == 3
    # All places are taken, by now by seconds that have passed: one of those goes.
    later = now + 9 * SECOND
    assert pen.arrive(ALICE + claims.PROBES * claims.ARRIVALS, later, SECOND, 9)
    assert not pen.arrive(ALICE, later, hour, 3)


def test_a_key_whose_window_has_changed_begins_anew(boards: list[ClaimBoard]) -> None:
    one, two, _ = pens(boards)
    assert [one.arrive(ALICE, 9 * SECOND, SECOND, 1) for _ in range(2)] == [True, False]
    assert [two.arrive(ALICE, 9 * SECOND, 2 * SECOND, 1) for _ in range(2)] == [True, False]
    assert not one.arrive(ALICE, 9 * SECOND, SECOND, 1)


def test_who_looked_at_the_clock_before_another_wipes_nothing(boards: list[ClaimBoard]) -> None:
    pen = pens(boards)[0]
    assert [pen.arrive(ALICE, now, SECOND, 2) for now in (SECOND, SECOND - 1, SECOND)] == [True, True, False]


def test_a_board_that_lies_breaks_no_reader(boards: list[ClaimBoard]) -> None:
    boards[2].writable[:] = b"\xff" * len(boards[2].writable)
    pen = pens(boards)[0]
    assert pen.claim(pen.take_row(), 0, ALICE, 1)
    assert pen.arrive(ALICE, SECOND, SECOND, 1)


def test_who_is_born_later_counts_on_what_everybody_sees_already() -> None:
    pool = ClaimPool()
    first = pool.take(8, 1)
    pool.prepare(8, 1, spare=2)
    before = Claims(first, list(pool.all))
    row = before.take_row()
    assert before.claim(row, 0, ALICE, 2)
    second, third = pool.take(8, 1), pool.take(4, 2)
    for board in (second, third):
        later = Claims(board, list(pool.all))
        assert later.claim(later.take_row(), 0, ALICE, 3)
    assert not before.claim(before.take_row(), 0, ALICE, 2)
    pool.give(second)
    assert before.claim(before.take_row(), 0, ALICE, 3)
    assert pool.take(8, 1).readable is second.readable


def test_spare_boards_that_are_too_small_are_replaced() -> None:
    pool = ClaimPool()
    pool.prepare(8, 1, spare=2)
    small = [board.readable for board in pool.all]
    pool.prepare(8, 1 + ClaimPool.SLACK, spare=2)
    assert [board.readable for board in pool.all] == small
    pool.prepare(8, 2 + ClaimPool.SLACK, spare=2)
    assert len(pool.all) == 2
    assert all(memory.closed for memory in small)
    assert pool.take(8, 2 + ClaimPool.SLACK).readable in [board.readable for board in pool.all]
    pool.close()


def test_a_process_keeps_only_its_own_board_to_write() -> None:
    pool = ClaimPool()
    own = pool.take(4, 1)
    pool.prepare(4, 1, spare=2)
    pool.only_read(own)
    assert not own.writable.closed
    for board in pool.all:
        assert board.writable.closed is (board.readable is not own.readable)
