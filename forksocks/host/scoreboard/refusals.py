"""The last sessions that were refused, as texts in a ring: room for MOST, the oldest gives way.

A worker's ring lies behind the slots of its board, and is written by the thread whose session was refused,
one at a time. When the worker has ended the supervisor takes what is there into a ring of its own, unread, so
that a death or a reload loses none. A stamp is written last and cleared first: what has none is no entry.
"""

from __future__ import annotations

import mmap
import sys
import threading
from collections.abc import Iterable
from time import monotonic_ns

from forksocks.host.scoreboard.layout import CELL

MOST = 64
ROOM = 2048  # bytes of an entry with its head
SIZE = MOST * ROOM
STAMP, LENGTH = range(2)  # when (monotonic clock, ns), and bytes of the text
HEAD = 2 * CELL
LONGEST = ROOM - HEAD

Entry = tuple[int, bytes]  # its stamp and its text


class Refusals:
    """The pen for a ring that begins at byte `first` of a memory. Safe for threads."""

    def __init__(self, memory: mmap.mmap, first: int = 0) -> None:
        self._memory = memoryview(memory)[first : first + SIZE]
        self._cells: memoryview[int] = self._memory.cast("Q")
        self._next = 0
        self._lock = threading.Lock()

    def note(self, text: bytes) -> None:
        """Put one that was refused now, cut to its room."""
        with self._lock:
            self._put(monotonic_ns(), text)

    def replace(self, entries: Iterable[Entry]) -> None:
        """Have these in place of all that is there: of more than MOST the last ones."""
        with self._lock:
            self._memory[:] = bytes(SIZE)
            self._next = 0
            for stamp, text in entries:
                self._put(stamp, text)

    def _put(self, stamp: int, text: bytes) -> None:
        at = self._next * ROOM
        self._next = (self._next + 1) % MOST
        text = text[:LONGEST]
        self._cells[at // CELL + STAMP] = 0
        self._memory[at + HEAD : at + HEAD + len(text)] = text
        self._cells[at // CELL + LENGTH] = len(text)
        self._cells[at // CELL + STAMP] = stamp


def entries(memory: mmap.mmap, first: int = 0) -> list[Entry]:
    """All entries of a ring, the oldest first; none that is being written, or that claims to be of later."""
    now = monotonic_ns()
    found = []
    for at in range(first, first + SIZE, ROOM):
        stamp, length = (_cell(memory, at, cell) for cell in (STAMP, LENGTH))
        text = memory[at + HEAD : at + HEAD + min(length, LONGEST)]
        if 0 < stamp <= now and _cell(memory, at, STAMP) == stamp:
            found.append((stamp, text))
    return sorted(found)


def _cell(memory: mmap.mmap, at: int, cell: int) -> int:
    return int.from_bytes(memory[at + cell * CELL : at + (cell + 1) * CELL], sys.byteorder)
