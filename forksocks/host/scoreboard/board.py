"""One process's board: made by the supervisor before the fork, written by that process alone."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic_ns

from forksocks.host.scoreboard import layout, refusals
from forksocks.host.shared import Shared, shared_memory


@dataclass(frozen=True, slots=True)
class Board(Shared):
    """The memory of one process's part.

    listeners: names, which slots know by their index. slots: 0 for a process that carries no sessions. rules:
    how many are counted. The writable view is for that process and the supervisor, which makes and clears
    it; everybody else reads.
    """

    listeners: tuple[str, ...]
    slots: int
    rules: int

    @classmethod
    def make(cls, listeners: Sequence[str] = (), threads: int = 0, rules: int = 0) -> Board:
        """Room for `threads` sessions of every listener, and for so many rules; OSError without memory."""
        slots = threads * len(listeners)
        size = _before_hits(slots) + rules * layout.HIT_CELLS * layout.CELL
        return cls(*shared_memory(size), tuple(listeners), slots, rules)

    @property
    def refusals(self) -> int | None:
        """Where its ring of refusals begins, in bytes; None for a process that has none."""
        return layout.size(self.slots) if self.slots else None

    @property
    def hits(self) -> int:
        """Where the counters of rules begin, in bytes."""
        return _before_hits(self.slots)

    def heartbeat(self) -> int:
        """What the process last wrote as its heartbeat; only that it changes means anything."""
        number: int = struct.unpack_from("=Q", self.readable, layout.HEARTBEAT * layout.CELL)[0]
        return number

    def beat(self) -> None:
        """Write the heartbeat of a process that has no more to say."""
        struct.pack_into("=Q", self.writable, layout.HEARTBEAT * layout.CELL, monotonic_ns())

    def used(self) -> int:
        """How many slots have ever been used, and never more than there are, whatever is written there."""
        number: int = struct.unpack_from("=Q", self.readable, layout.USED * layout.CELL)[0]
        return min(number, self.slots)

    def clear(self) -> None:
        """Make it as new, for a process's successor; refusals are emptied by who takes them, and rules
        counted on."""
        end = layout.size(self.used())
        self.writable[:end] = bytes(end)


def _before_hits(slots: int) -> int:
    return layout.size(slots) + (refusals.SIZE if slots else 0)
