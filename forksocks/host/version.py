"""A counter that processes share: one writes it, the others see within microseconds that something is new."""

from __future__ import annotations

import mmap

from forksocks.host.shared import Shared, shared_memory

_SIZE = 8


class Version:
    """Counts versions of something, from 0. Made before fork; only one process may call `advance`."""

    def __init__(self) -> None:
        self._memory = Shared(*shared_memory(mmap.PAGESIZE))
        # Through such a view a read or a write of the whole number is one machine word: never half of each.
        self._number = memoryview(self._memory.readable)[:_SIZE].cast("Q")

    def read(self) -> int:
        """Return the current version."""
        return self._number[0]

    def advance(self) -> None:
        """Begin the next version."""
        with memoryview(self._memory.writable) as memory, memory.cast("Q") as numbers:
            numbers[0] = self._number[0] + 1

    def only_read(self) -> None:
        """Give up, in a process that is not its writer, the possibility to write."""
        self._memory.only_read()

    def close(self) -> None:
        """Give it back in this process."""
        self._number.release()
        self._memory.close()
