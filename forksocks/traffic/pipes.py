"""Pipes for splice, kept and lent: a flow holds one only while there are bytes in it.

Linux gives an unprivileged user 64 MiB of pipe capacity (fs.pipe-user-pages-soft, pipe(7)): beyond that a
pipe cannot be enlarged, and new ones shrink to two pages. A pipe too short to be worth its calls is not lent;
the flow copies instead. So it does when there are as many pipes as descriptors can be spared for: peers that
do not read keep theirs for long, and the sockets of the next session come first.
"""

from __future__ import annotations

import os
import threading

from forksocks.host import linux

LARGEST = 1024 * 1024  # fs.pipe-max-size; half the CPU per byte of the 64 KiB that a pipe begins with
SHORTEST = 64 * 1024
MOST_FREE = 16


class Pipe:
    """Both ends of one pipe, non-blocking; `held` is how many bytes are in it."""

    __slots__ = ("held", "reader", "writer")

    def __init__(self, reader: int, writer: int) -> None:
        self.reader = reader
        self.writer = writer
        self.held = 0

    def close(self) -> None:
        """Give both descriptors back; bytes inside are lost."""
        os.close(self.reader)
        os.close(self.writer)


class Pipes:
    """A worker's pipes, at most `most`. Safe for threads: a list's append and pop are atomic."""

    def __init__(self, most: int) -> None:
        self._free: list[Pipe] = []
        self._left = most  # how many may still be made
        self._lock = threading.Lock()

    def take(self) -> Pipe | None:
        """Lend an empty pipe; None when the system gives none of at least SHORTEST bytes."""
        try:
            return self._free.pop()
        except IndexError:
            return self._make()

    def give(self, pipe: Pipe) -> None:
        """Take a pipe back; one with bytes in it would leak them into another tunnel, so it is closed."""
        if pipe.held or len(self._free) >= MOST_FREE:
            pipe.close()
            self._count(-1)
        else:
            self._free.append(pipe)

    def _make(self) -> Pipe | None:
        if not self._count(1):
            return None
        pipe = _make()
        if pipe is None:
            self._count(-1)
        return pipe

    def _count(self, made: int) -> bool:
        with self._lock:
            if self._left < made:
                return False
            self._left -= made
            return True

    def close(self) -> None:
        """Close the pipes that nobody has borrowed."""
        while self._free:
            self._free.pop().close()
            self._count(-1)


def _make() -> Pipe | None:
    try:
        pipe = Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return None
    if linux.enlarge(pipe.writer, LARGEST) < SHORTEST:
        pipe.close()
        return None
    return pipe
