"""Memory that processes share: one writes it, the others read it."""

from __future__ import annotations

import mmap
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shared:
    """Two views of the same bytes, as kernel.shared_memory makes them before the fork."""

    writable: mmap.mmap
    readable: mmap.mmap

    def only_read(self) -> None:
        """Give the writable view up, in a process that is not its writer."""
        if self.writable is not self.readable:
            self.writable.close()

    def close(self) -> None:
        """Give it back in this process."""
        self.writable.close()
        self.readable.close()
