"""From which of our own sockets a loop could come back: what every worker has just dialled, for all to see.

A tunnel to this very server (by loopback, by a public address of its own, through a router that sends it
back) would be trusted as a local client and could be nested until no thread is left. So a dial to a port of
ours is noted by its own address and port, and a client that comes from there is a loop.

Cells that all workers write, without a lock: a lost note costs a detection, a wrong one needs 64 bits that
agree. What is noted is forgotten after RECENT seconds, when another socket may have that address and port.
"""

from __future__ import annotations

import mmap
from time import monotonic

RECENT = 60  # seconds; a client has spoken or been cut long before
_CELLS = 1 << 14
_SEEN = (1 << 32) - 1


class Dialled:
    """Notes of local endpoints as texts, "192.0.2.1:40001". Made before fork: later hash() would differ."""

    def __init__(self) -> None:
        # Through this view a cell is one machine word: never half of one.
        self._cells = memoryview(mmap.mmap(-1, 8 * _CELLS)).cast("Q")

    def note(self, endpoint: str) -> None:
        """A connection of ours to one of our own ports comes from here."""
        number = hash(endpoint)
        self._cells[number % _CELLS] = (number >> 14 & _SEEN) << 32 | int(monotonic())

    def knows(self, endpoint: str) -> bool:
        """Whether that was noted lately."""
        number = hash(endpoint)
        cell = self._cells[number % _CELLS]
        return cell >> 32 == number >> 14 & _SEEN and monotonic() - (cell & _SEEN) < RECENT
