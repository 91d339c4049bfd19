"""A machine that gives no process or thread: what it says, with what helps.

fork(2) and clone(2) say EAGAIN for every limit that there is, and Python says of a thread only that there is
none.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

LIMITS = (
    "the limit of processes and threads is reached (ulimit -u, pids.max of a container, TasksMax= of systemd)"
)


class NoThread(Exception):
    """A process cannot have the threads that it needs to begin; the text is one line for a person."""


def of_processes(error: OSError) -> str:
    """Why there is no process."""
    return LIMITS if error.errno == errno.EAGAIN else error.strerror or str(error)


@contextlib.contextmanager
def starting_threads() -> Iterator[None]:
    """Only for calls that start threads: what these raise without one becomes NoThread."""
    try:
        yield
    except RuntimeError as error:
        raise NoThread(LIMITS) from error
    except MemoryError as error:
        raise NoThread("there is no memory for its threads") from error
