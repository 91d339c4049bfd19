"""What a process says when it dies of a fault or is told to die where it hangs: its threads' stacks.

faulthandler writes them from a signal handler, without Python and without locks, so also when a thread keeps
the interpreter to itself or the memory is broken. They go to a pipe that the supervisor reads once the
process has ended; a process that was stopped, or was killed outright, says nothing.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal

LONGEST = 64 * 1024  # what a pipe holds; more is not said
MOST_LINES = 40
# Writes the stacks of all threads and then ends the process.
SPEAK_AND_DIE = signal.SIGABRT


class LastWords:
    """The pipe of one row of the supervisor's table: whoever lives in it may speak once."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """What the child writes to."""
        return self._writer

    def prepare(self) -> None:
        """In the child: from now on a fault, or SPEAK_AND_DIE, makes it speak."""
        faulthandler.enable(self._writer)

    def moved(self, number: int) -> None:
        """In the child: what it writes to has another number now."""
        self._writer = number
        self.prepare()

    def hear(self) -> list[str]:
        """Return what was said since the last call, a line each, at most MOST_LINES."""
        said = b""
        with contextlib.suppress(BlockingIOError):
            while len(said) <= LONGEST:
                said += os.read(self._reader, LONGEST)
        lines = [line.strip() for line in said.decode("ascii", "backslashreplace").splitlines()]
        return [line for line in lines if line][:MOST_LINES]

    def close(self) -> None:
        """Give both ends back."""
        os.close(self._reader)
        os.close(self._writer)
