"""What tests ask of the machine: descriptors that are open, or all used up, and a port that is free."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

LONG = 60.0  # seconds that nothing in a unit test should need, on however slow a machine
LOOK = 0.005


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when `condition` holds; AssertionError if it does not within LONG."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(LOOK)


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class NoDescriptors:
    """While the block lasts, or until `give_back`, nothing can be opened: EMFILE (getrlimit(2)).

    The limit is below all that is open but the standard descriptors, so that what another thread or the
    garbage collector closes meanwhile is no room. poll(2) takes no more than three descriptors.
    """

    def __init__(self) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def __enter__(self) -> Self:
        for standard in range(3):
            os.fstat(standard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, self._limits[1]))
        return self

    def give_back(self) -> None:
        """Be rich again."""
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
