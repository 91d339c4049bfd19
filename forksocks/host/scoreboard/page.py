"""A page that one process writes as a whole and others read: bytes that belong together, or nothing.

The writer makes the sequence number odd while it writes; a reader who saw an odd one, or another at the end
than at the start, has read a mixture and reads again. That holds for whatever else is written between `begin`
and `end`, and read by `see`.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from forksocks.host.shared import Shared, mapped, memory_to_hand_over, shared_memory

T = TypeVar("T")

_HEAD = struct.Struct("=QQ")
_SEQUENCE, _LENGTH = range(2)
MOST_TRIES = 100


@dataclass(frozen=True, slots=True)
class Page(Shared):
    """Shared memory for up to `room` bytes; pages of it that are not used cost nothing."""

    room: int

    @classmethod
    def make(cls, room: int) -> Page:
        """Return an empty one; OSError without memory."""
        return cls(*shared_memory(_HEAD.size + room), room)

    @classmethod
    def to_hand_over(cls, room: int) -> tuple[Page, int]:
        """Return an empty one, and a descriptor by which a program that is no child of ours can read it.

        OSError where that cannot be.
        """
        try:
            descriptor, writable = memory_to_hand_over(_HEAD.size + room)
        except AttributeError as error:
            raise OSError("this system has no such memory") from error
        return cls(writable, writable, room), descriptor

    @classmethod
    def handed_over(cls, descriptor: int) -> Page:
        """Return what another program writes; the descriptor is closed. OSError or ValueError for no page."""
        memory = mapped(descriptor)
        if len(memory) < _HEAD.size:
            raise ValueError("no page")
        return cls(memory, memory, len(memory) - _HEAD.size)

    def begin(self) -> None:
        """From here to `end` nothing that is read counts."""
        self._store(_SEQUENCE, self._sequence() | 1)

    def end(self, data: bytes) -> None:
        """Replace what is there, by at most `room` bytes."""
        self.writable[_HEAD.size : _HEAD.size + len(data)] = data
        self._store(_LENGTH, len(data))
        self._store(_SEQUENCE, self._sequence() + 1)

    def write(self, data: bytes) -> None:
        """Both at once."""
        self.begin()
        self.end(data)

    def read(self) -> bytes:
        """Return what is there; b"" where a writer has died in the middle of it."""
        found = self.see(lambda: None)
        return b"" if found is None else found[0]

    def see(
        self, look: Callable[[], T], tries: int = MOST_TRIES, pause: float = 0.0
    ) -> tuple[bytes, T] | None:
        """Return what is there, and what `look` found that belongs to it; None if it was never settled.

        pause: seconds to wait for a writer who is at it.
        """
        for _ in range(tries):
            before, length = _HEAD.unpack_from(self.readable, 0)
            if before % 2 or length > self.room:
                time.sleep(pause)
                continue
            data, found = self.readable[_HEAD.size : _HEAD.size + length], look()
            if self._sequence() == before:
                return data, found
        return None

    def _sequence(self) -> int:
        number: int = _HEAD.unpack_from(self.readable, 0)[0]
        return number

    def _store(self, cell: int, number: int) -> None:
        """As one machine word: pack_into would write zeros first, and 0 is even."""
        with (
            memoryview(self.writable) as memory,
            memory[: _HEAD.size] as head,
            head.cast("Q") as cells,
        ):
            cells[cell] = number
