"""What a session is called, in the log and by `forksocksctl`: `w2-69255e41-7f`.

The worker's number, the second in which its process was born, and which of its sessions it is, both in hex. A
reload, a crash and a restart make other processes, so that no line of an old log is about another session.
The scoreboard keeps the last two as one number.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

_BITS = 32  # for the sessions of one process; should it have more, they go on in the second after


def births() -> Iterator[int]:
    """The second of each birth, since 1970: now, but later than all before, whatever the clock does."""
    last = 0
    while True:
        last = max(last + 1, int(time.time()))
        yield last


def numbers(birth: int) -> count[int]:
    """The numbers of a process's sessions; birth: the second in which it was born, since 1970."""
    return count((birth << _BITS) + 1)


def identity(worker: int, number: int) -> str:
    """The name of a session, by its worker's number and its own."""
    birth, session = divmod(number, 1 << _BITS)
    return f"w{worker}-{birth:x}-{session:x}"
