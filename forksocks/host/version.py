"""A counter that processes share: one writes it, the others see within microseconds that something is new."""

from __future__ import annotations

import mmap

_SIZE = 8


class Version:
    """Counts versions of something, from 0. Made before fork; only one process may call `advance`."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        # Through this view a read or a write of the whole number is one machine word: never half of each.
        self._number = memoryview(self._memory)[:_SIZE].cast("Q")

    def read(self) -> int:
        """Return the current version."""
        return self._number[0]

    def advance(self) -> None:
        """Begin the next version."""
        self._number[0] += 1
