"""What unit tests ask of the machine: how many descriptors are open, and that there are none left."""

from __future__ import annotations

import errno
import os
import resource
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


class NoDescriptors:
    """While the block lasts, or until `give_back`, nothing can be opened: EMFILE (getrlimit(2))."""

    def __init__(self) -> None:
        self._limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._taken = [os.open(os.devnull, os.O_RDONLY)]

    def __enter__(self) -> Self:
        highest = max(map(int, os.listdir("/proc/self/fd")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, self._limits[1]))
        while self._take():
            pass
        return self

    def _take(self) -> bool:
        try:
            self._taken.append(os.dup(self._taken[0]))
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            return False
        return True

    def give_back(self) -> None:
        """Be rich again."""
        resource.setrlimit(resource.RLIMIT_NOFILE, self._limits)
        while self._taken:
            os.close(self._taken.pop())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
