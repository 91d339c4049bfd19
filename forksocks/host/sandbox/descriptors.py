"""Which descriptors a child keeps, and under which numbers.

What children share, listening sockets above all, goes to numbers from RLIMIT_NOFILE on: such a descriptor can
be used and closed, but no call makes another like it, and a filter of system calls knows by its number what
must not be shut down, connected or made non-blocking under everyone else. What nobody named is closed.

A child is born with all that the supervisor holds, which grows with every generation that drains: anything
may have any number. What stays comes below RLIMIT_NOFILE first, because a descriptor beyond it can never be
replaced (dup2(2), EBADF) and because what is lifted would land on it.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial

SPARE = 8  # numbers left free above those that are shared


def base(wanted: int, shared: int) -> int:
    """The number from which shared descriptors are kept: `wanted`, or what the hard limit leaves."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else max(3, min(wanted, hard - shared - SPARE))


def lower(number: int, below: int) -> int:
    """Move a descriptor to a number under `below`, if it is not there; return its number. Raises OSError."""
    if number < below:
        return number
    lowest = os.dup(number)
    os.close(number)
    if lowest >= below:
        os.close(lowest)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return lowest


def lower_sockets(sockets: Sequence[socket.socket], below: int) -> None:
    """Move sockets to numbers under `below`; the objects stay the same. Raises OSError."""
    for sock in sockets:
        if sock.fileno() >= below:
            _renumber(sock, partial(lower, below=below))


def raise_sockets(shared: Sequence[socket.socket], to: int) -> None:
    """Renumber sockets from `to` on, where nothing is; the objects stay the same, so whoever has one goes on
    with it."""
    for number, sock in enumerate(shared, to):
        _renumber(sock, partial(_move, to=number))


def _move(old: int, to: int) -> int:
    os.dup2(old, to, inheritable=False)
    os.close(old)
    return to


def _renumber(sock: socket.socket, move: Callable[[int], int]) -> None:
    family, kind, protocol, patience = sock.family, sock.type, sock.proto, sock.gettimeout()
    number = move(sock.detach())
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
    """Descriptors 0 to 2 to /dev/null: a terminal behind them could be typed into, or wait for us."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    if null > 2:
        os.close(null)
