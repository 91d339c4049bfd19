"""Claims of several workers on shared memory: never too many, and gone with whoever made them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from forksocks.host.scoreboard import claims
from forksocks.host.scoreboard.claims import ClaimBoard, Claims

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


def test_many_threads_and_processes_never_exceed(boards: list[ClaimBoard]) -> None:
    """Each claims and gives back as fast as it can; whoever holds a place looks how many there are."""
    ours, theirs = os.pipe()

    def work(pen: Claims) -> int:
        most = 0
        for _ in range(300):
            row = pen.take_row()
            if pen.claim(row, 0, ALICE, 3):
                most = max(most, _held(boards))
            pen.give_row(row)
        return most

    children = []
    for board in boards[1:]:
        pid = os.fork()
        if pid == 0:
            os.write(theirs, bytes([work(Claims(board, boards))]))
            os._exit(0)
        children.append(pid)
    pen, found = Claims(boards[0], boards), []
    threads = [threading.Thread(target=lambda: found.append(work(pen))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for pid in children:
        os.waitpid(pid, 0)
    found += os.read(ours, len(children))
    os.close(ours)
    os.close(theirs)
    # A claim that will be taken back counts for a moment: each process or thread has one at the most.
    assert 1 <= max(found) <= 3 + len(threads) + len(children)
    assert _held(boards) == 0


def _held(boards: list[ClaimBoard]) -> int:
    return sum(board.count(ALICE) for board in boards)


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


def test_a_board_that_lies_breaks_no_reader(boards: list[ClaimBoard]) -> None:
    boards[2].writable[:] = b"\xff" * len(boards[2].writable)
    pen = pens(boards)[0]
    assert pen.claim(pen.take_row(), 0, ALICE, 1)
    assert pen.arrive(ALICE, SECOND, SECOND, 1)
