"""Which descriptors a child keeps, and under which numbers.

What children share, listening sockets above all, goes to numbers from RLIMIT_NOFILE on: such a descriptor can
be used and closed, but no call makes another like it, and a filter of system calls knows by its number what
must not be shut down, connected or made non-blocking under everyone else. What nobody named is closed.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterable, Sequence

SPARE = 8  # numbers left free above those that are shared


def base(wanted: int, shared: int) -> int:
    """The number from which shared descriptors are kept: `wanted`, or what the hard limit leaves."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else max(3, min(wanted, hard - shared - SPARE))


def lift(shared: Sequence[socket.socket], to: int) -> None:
    """Renumber sockets from `to` on; the objects stay the same, so whoever has one goes on with it."""
    for number, sock in enumerate(shared, to):
        family, kind, protocol, patience = sock.family, sock.type, sock.proto, sock.gettimeout()
        old = sock.detach()
        os.dup2(old, number, inheritable=False)
        os.close(old)
        sock.__init__(family, kind, protocol, fileno=number)  # type: ignore[misc]  # renumbers in place
        sock.settimeout(patience)


def close_others(kept: Iterable[int]) -> None:
    """Close everything but the standard three and `kept`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    start = 3
    for number in sorted({*kept, hard if hard != resource.RLIM_INFINITY else 1 << 20}):
        if number >= start:
            os.closerange(start, number)
            start = number + 1


def silence_standard() -> None:
    """Descriptors 0 to 2 to /dev/null: a terminal behind them could be typed into."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    if null > 2:
        os.close(null)
