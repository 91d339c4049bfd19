"""Signals as something to wait for.

A handler does nothing; the number goes to a pipe (signal.set_wakeup_fd), and the process's one loop reads it
there when it is ready to act. Anything done inside a handler may meet a lock that the interrupted code holds.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterable, Iterator

FOR_THE_SUPERVISOR = (
    signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU,
)  # fmt: skip


class SignalQueue:
    """The signals of `numbers`, in the order they came. Main thread only; `ignored` reach nobody."""

    def __init__(self, numbers: Iterable[int], ignored: Iterable[int] = ()) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        for number in numbers:
            signal.signal(number, lambda _number, _frame: None)

    def fileno(self) -> int:
        """What poll(2) can wait for."""
        return self._reader.fileno()

    def take(self) -> list[int]:
        """Return the signals that have come since the last call."""
        with contextlib.suppress(BlockingIOError):
            return list(self._reader.recv(1024))
        return []

    def close(self) -> None:
        """Stop listening; handlers stay as they are."""
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()


def of_a_child() -> SignalQueue:
    """What ends a child; all else that is sent to its terminal or its group is for the supervisor alone."""
    return SignalQueue((signal.SIGTERM, signal.SIGQUIT), ignored=FOR_THE_SUPERVISOR)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Hold back every signal: between fork and its own handlers a child would lose it or die of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def reset() -> None:
    """Make every signal do what it does by default, and come, before another program takes over.

    Handlers do not survive execve(2), but what is blocked or ignored stays so, as SIGPIPE by Python.
    """
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
