"""How often each rule of a configuration has decided, and when last: a part of a worker's board.

The cells are the row's, not the process's: whoever follows a worker that has died goes on counting in them. A
session adds one where another rule than before speaks about it, which is once for most.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from time import monotonic_ns

from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.layout import CELL, HIT_CELLS

COUNT, LAST = range(HIT_CELLS)
Hit = tuple[int, int]  # how often, and when last (monotonic clock, ns; 0: never)


class Hits:
    """The pen of one process. names: the rules in their order; None among them stands for "no rule fits".

    Safe for threads.
    """

    def __init__(self, board: Board, names: Sequence[str | None]) -> None:
        self._cells: memoryview[int] = memoryview(board.writable).cast("Q")
        first = board.hits // CELL
        self._at = {name: first + number * HIT_CELLS for number, name in enumerate(names[: board.rules])}
        self._lock = threading.Lock()

    def note(self, name: str | None) -> None:
        """This rule has decided; of one that nobody knows nothing is counted."""
        at = self._at.get(name)
        if at is not None:
            with self._lock:
                self._cells[at + COUNT] += 1
            self._cells[at + LAST] = monotonic_ns()


def read(board: Board) -> list[Hit]:
    """What a board says of each rule."""
    first = board.hits // CELL
    with memoryview(board.readable).cast("Q") as cells:
        at = range(first, first + board.rules * HIT_CELLS, HIT_CELLS)
        return [(cells[each + COUNT], cells[each + LAST]) for each in at]


def total(boards: Sequence[Board]) -> list[Hit]:
    """The sums over boards of the same rules, and the latest times."""
    rows = zip(*map(read, boards), strict=True)
    return [(sum(count for count, _ in row), max(last for _, last in row)) for row in rows]


def move(board: Board, to: Board) -> None:
    """Add what a board says to another, and leave none there: its process has ended."""
    with memoryview(to.writable).cast("Q") as cells:
        for number, (count, last) in enumerate(total([board, to])):
            at = to.hits // CELL + number * HIT_CELLS
            cells[at + COUNT], cells[at + LAST] = count & 0xFFFF_FFFF_FFFF_FFFF, last
    size = board.rules * HIT_CELLS * CELL
    board.writable[board.hits : board.hits + size] = bytes(size)
