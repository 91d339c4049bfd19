"""A page that one process writes as a whole and others read: bytes that belong together, or nothing.

The writer makes the sequence number odd while it writes; a reader who saw an odd one, or another at the end
than at the start, has read a mixture and reads again.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

from forksocks.host import kernel

_HEAD = struct.Struct("=QQ")  # sequence number, length
MOST_TRIES = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Shared memory for up to `room` bytes; pages of it that are not used cost nothing."""

    writable: mmap.mmap
    readable: mmap.mmap
    room: int

    @classmethod
    def make(cls, room: int) -> Page:
        """Return an empty one; OSError without memory."""
        return cls(*kernel.shared_memory(_HEAD.size + room), room)

    @classmethod
    def to_hand_over(cls, room: int) -> tuple[Page, int]:
        """Return an empty one, and a descriptor by which a program that is no child of ours can read it.

        OSError where that cannot be.
        """
        try:
            descriptor, writable = kernel.memory_to_hand_over(_HEAD.size + room)
        except AttributeError as error:
            raise OSError("this system has no such memory") from error
        return cls(writable, writable, room), descriptor

    @classmethod
    def handed_over(cls, descriptor: int) -> Page:
        """Return what another program writes; the descriptor is closed. OSError or ValueError for no page."""
        memory = kernel.mapped(descriptor)
        if len(memory) < _HEAD.size:
            raise ValueError("no page")
        return cls(memory, memory, len(memory) - _HEAD.size)

    def write(self, data: bytes) -> None:
        """Replace what is there, by at most `room` bytes."""
        sequence, _ = _HEAD.unpack_from(self.writable, 0)
        _HEAD.pack_into(self.writable, 0, sequence | 1, 0)
        self.writable[_HEAD.size : _HEAD.size + len(data)] = data
        _HEAD.pack_into(self.writable, 0, (sequence | 1) + 1, len(data))

    def read(self) -> bytes:
        """Return what is there; b"" where a writer has died in the middle of it."""
        for _ in range(MOST_TRIES):
            before, length = _HEAD.unpack_from(self.readable, 0)
            if before % 2 or length > self.room:
                continue
            data = self.readable[_HEAD.size : _HEAD.size + length]
            if _HEAD.unpack_from(self.readable, 0)[0] == before:
                return data
        return b""

    def close(self) -> None:
        """Give it back in this process."""
        self.writable.close()
        self.readable.close()
