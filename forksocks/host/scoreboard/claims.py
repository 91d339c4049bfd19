"""What the sessions of one worker count towards limits, where every worker can read it.

A session writes a claim, a number that stands for "user alice under the limit person", and then counts that
number over the claims of all workers: over the limit it takes its own back. So a limit is never exceeded,
there is no lock between processes, and when a worker dies its claims go with its board. Two that claim the
last place at the same instant may both be refused; neither gets it unduly.

How many new connections there were is kept in a small table beside it, two time slices a number: the sum over
the workers of the present slice and what is still in the window of the last one. Numbers of all windows share
the table, each judged by its own. It has fixed room; a number that finds no place that is empty or has been
forgotten in time takes that of the one that counts least by now, and what that one had counted is lost.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from forksocks.host.shared import Shared, shared_memory

CELL = 8
USED = 0  # cells of claims that have ever been used
HEAD_CELLS = 1
ARRIVALS = 4096  # entries of the table of new connections
PROBES = 8  # places of the table where a number may stand
KEY, WINDOW, SLICE, NOW, BEFORE = range(5)
ARRIVAL_CELLS = 5
FIRST_ROW = HEAD_CELLS + ARRIVALS * ARRIVAL_CELLS


@dataclass(frozen=True, slots=True)
class ClaimBoard(Shared):
    """The memory of one worker's claims: `rows` sessions with `width` claims each."""

    rows: int
    width: int

    @classmethod
    def make(cls, rows: int, width: int) -> ClaimBoard:
        """Room for so many sessions; OSError without memory."""
        return cls(*shared_memory((FIRST_ROW + rows * width) * CELL), rows, width)

    def count(self, key: int) -> int:
        """How many sessions of this worker claim `key`."""
        used = int.from_bytes(self.readable[USED * CELL : (USED + 1) * CELL], sys.byteorder)
        if not used:  # nobody's as yet
            return 0
        claims = self.readable[FIRST_ROW * CELL : (FIRST_ROW + used) * CELL]
        return claims.count(key.to_bytes(CELL, sys.byteorder))

    def arrived(self, key: int, now: int, window: int) -> float:
        """About how many new connections of `key` this worker has seen in the last `window`; times in ns."""
        with memoryview(self.readable).cast("Q") as cells:
            for at in places(key):
                if cells[at + KEY] == key and cells[at + WINDOW] == window:
                    return recent(cells[at + SLICE], cells[at + NOW], cells[at + BEFORE], now, window)
        return 0.0

    def fitted(self, rows: int, width: int) -> ClaimBoard | None:
        """The same memory for so many sessions; None if it is too small."""
        fits = len(self.readable) >= (FIRST_ROW + rows * width) * CELL
        return replace(self, rows=rows, width=width) if fits else None

    def clear(self) -> None:
        """Make it as new, for a worker's successor."""
        self.writable[:] = bytes(len(self.writable))


def places(key: int) -> Iterator[int]:
    """The cells at which an entry of the table of new connections may begin."""
    return (HEAD_CELLS + (key + step) % ARRIVALS * ARRIVAL_CELLS for step in range(PROBES))


def recent(slice_: int, counted: int, before: int, now: int, window: int) -> float:
    """What an entry says about the `window` that ends now: a slice is as long as the window."""
    passed = now // window - slice_
    left = 1 - now % window / window  # of the slice before this one, as much is still in the window
    if passed <= 0:  # another thread may have begun the next slice since `now`
        return counted + before * left
    return counted * left if passed == 1 else 0.0


class ClaimPool:
    """The boards of all workers of a server's life, those to come among them.

    A process sees what there was at its fork. So there are always some more boards than workers, and who is
    born later, a worker more or the next generation, counts on one that everybody sees already.
    """

    SLACK = 2  # claims of a session beyond what is configured: the next configuration may have more limits

    def __init__(self) -> None:
        self.all: list[ClaimBoard] = []
        self._free: list[ClaimBoard] = []

    def take(self, rows: int, width: int) -> ClaimBoard:
        """A board for a new worker; OSError without memory."""
        for board in self._free:
            if (fitted := board.fitted(rows, width)) is not None:
                self._free.remove(board)
                return fitted
        self._make(rows, width)
        return self.take(rows, width)

    def give(self, board: ClaimBoard) -> None:
        """Its worker has ended, and has no successor."""
        board.clear()
        self._free.append(board)

    def prepare(self, rows: int, width: int, spare: int) -> None:
        """Have so many that nobody has taken, before anybody is forked. OSError without memory."""
        for board in self._free[:]:
            if board.fitted(rows, width) is None:
                self._free.remove(board)
                self.all = [each for each in self.all if each.readable is not board.readable]
                board.close()
        while len(self._free) < spare:
            self._make(rows, width)

    def only_read(self, own: ClaimBoard | None) -> None:
        """Give the writable views of all others up, in a process that writes its own or none."""
        for board in self.all:
            if own is None or board.readable is not own.readable:
                board.only_read()

    def close(self) -> None:
        """Give back what nobody has taken, all there is once the workers' rows are closed."""
        while self._free:
            self._free.pop().close()

    def _make(self, rows: int, width: int) -> None:
        board = ClaimBoard.make(rows, width + self.SLACK)
        self.all.append(board)
        self._free.append(board)


class Claims:
    """One worker's pen for its own board, and its eyes for all of them. Safe for threads."""

    def __init__(self, own: ClaimBoard, everyones: Sequence[ClaimBoard]) -> None:
        self._cells: memoryview[int] = memoryview(own.writable).cast("Q")
        self._own = own
        self._everyones = everyones
        self._free: list[int] = []
        self._used = 0
        self._lock = threading.Lock()

    def take_row(self) -> int:
        """Return a row for one session."""
        try:
            return self._free.pop()
        except IndexError:
            with self._lock:
                row = self._used
                self._used = row + 1
                self._cells[USED] = self._used * self._own.width
            return row

    def give_row(self, row: int) -> None:
        """Take a session's row back, with all that it claimed."""
        first = FIRST_ROW + row * self._own.width
        for at in range(first, first + self._own.width):
            self._cells[at] = 0
        self._free.append(row)

    def claim(self, row: int, column: int, key: int, most: int) -> bool:
        """Claim one of `most` places of `key` for a session; False if there is none."""
        at = FIRST_ROW + row * self._own.width + column
        self._cells[at] = key
        if sum(board.count(key) for board in self._everyones) <= most:
            return True
        self._cells[at] = 0
        return False

    def arrive(self, key: int, now: int, window: int, most: float) -> bool:
        """Count a new connection of `key` if with it there are at most `most` in the window; times in ns."""
        with self._lock:
            if sum(board.arrived(key, now, window) for board in self._everyones) + 1 > most:
                return False
            self._count(key, now, window)
        return True

    def _count(self, key: int, now: int, window: int) -> None:
        cells = self._cells
        at = self._entry(key, now, window)
        slice_ = now // window
        if cells[at + KEY] != key or cells[at + WINDOW] != window:
            cells[at + NOW] = cells[at + BEFORE] = 0
            cells[at + SLICE] = slice_
            cells[at + WINDOW] = window
            cells[at + KEY] = key
        elif cells[at + SLICE] < slice_:
            cells[at + BEFORE] = cells[at + NOW] if cells[at + SLICE] == slice_ - 1 else 0
            cells[at + NOW] = 0
            cells[at + SLICE] = slice_
        cells[at + NOW] += 1

    def _entry(self, key: int, now: int, window: int) -> int:
        """Where `key` stands, or else the first place that counts nothing, or the one that counts least."""
        best, least = 0, float("inf")
        for at in places(key):
            other, others, slice_, counted, before = self._cells[at : at + ARRIVAL_CELLS]
            if other == key and others == window:
                return at
            counts = recent(slice_, counted, before, now, others) if other else 0.0
            if counts < least:
                best, least = at, counts
        return best
