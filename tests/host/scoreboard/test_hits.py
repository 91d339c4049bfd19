from __future__ import annotations

import sys
import threading
from time import monotonic_ns

from forksocks.host.causes import Cause
from forksocks.host.scoreboard import hits, layout
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.books import Books
from forksocks.host.scoreboard.hits import Hits
from forksocks.host.scoreboard.slots import Slots

NAMES = ("staff", "guests", None)


def counts(*boards: Board) -> list[int]:
    return [count for count, _ in hits.total(boards)]


def test_each_rule_is_counted_over_all_workers_and_over_deaths() -> None:
    boards = [Board.make(("lan",), 2, len(NAMES)) for _ in range(2)]
    before = monotonic_ns()
    for board in boards:
        pen = Hits(board, NAMES)
        for name in ("guests", "guests", None, "unknown"):
            pen.note(name)
    assert counts(*boards) == [0, 4, 2]
    (never, last), (_, later), _ = hits.total(boards)
    assert (never, last) == (0, 0)
    assert before <= later <= monotonic_ns()
    Books().close(boards[0], Cause.WORKER_CRASH, {})
    Hits(boards[0], NAMES).note("staff")
    assert counts(*boards) == [1, 4, 2]


def test_what_a_worker_that_leaves_has_counted_is_kept() -> None:
    worker, left = Board.make(("lan",), 2, len(NAMES)), Board.make(rules=len(NAMES))
    Hits(worker, NAMES).note("staff")
    last = hits.read(worker)[0][1]
    for expected in (1, 2):
        hits.move(worker, left)
        assert (counts(left), counts(worker)) == ([expected, 0, 0], [0, 0, 0])
        assert hits.read(left)[0][1] >= last
        Hits(worker, NAMES).note("staff")
    worker.writable[:] = b"\xff" * len(worker.writable)
    hits.move(worker, left)  # whatever is written there


def test_counting_disturbs_nothing_else() -> None:
    board = Board.make(("lan",), 2, len(NAMES))
    slot = Slots(board).take(0)
    slot.begin(1, "192.0.2.1:5000")
    before = board.readable[: board.hits]
    Hits(board, NAMES).note("staff")
    assert board.readable[: board.hits] == before
    assert len(board.readable) == board.hits + len(NAMES) * layout.HIT_CELLS * layout.CELL
    assert hits.read(Board.make()) == []
    Hits(Board.make(), ()).note(None)


def test_threads_lose_no_hit_to_each_other() -> None:
    board = Board.make(rules=len(NAMES))
    pen = Hits(board, NAMES)

    def count() -> None:
        for _ in range(10_000):
            pen.note("staff")

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=count) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(before)
    assert counts(board) == [40_000, 0, 0]
