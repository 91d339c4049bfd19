"""Clients that have not been let in yet may be many, slow and silent; this keeps them from filling the house.

A deadline alone loses every thread to a flood of connections that say nothing (CVE-2010-5107). So strangers
hold at most half of a worker's threads, and never the last one: whoever comes beyond that is served, and the
stranger makes room who has been here longest of the most crowded networks. And as long as there is a crowd (a
network with more than an eighth of the threads, an IPv4 address or an IPv6 /64, is one by itself) a handshake
that is not done within a second ends, in place of its whole time: a flood that is cut at once comes again at
once, so it is better kept waiting. Clients that speak are done within milliseconds and notice nothing.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from forksocks.config.model import Address
from forksocks.host.causes import Cause

# What a real client needs for its whole handshake when it comes to the worst, in seconds.
GRACE = 1.0


class Abortable(Protocol):
    """A session."""

    def abort(self, cause: Cause) -> None:
        """End it from another thread."""


class Stranger:
    """One who has not been let in yet."""

    __slots__ = ("network", "session")

    def __init__(self, network: int, session: Abortable) -> None:
        self.network = network
        self.session = session


class Handshakes:
    """The strangers in one worker of `threads` threads, of which `busy` says how many serve. Thread-safe."""

    def __init__(self, threads: int, busy: Callable[[], int]) -> None:
        self._threads = threads
        self._half = max(1, threads // 2)
        self._eighth = max(1, threads // 8)
        self._busy = busy
        self._strangers: dict[Stranger, None] = {}  # the one who has been here longest comes first
        self._of: Counter[int] = Counter()
        self._lock = threading.Lock()

    def enter(self, client: Address | None, session: Abortable) -> Stranger:
        """A handshake begins; where it is one too many, another one's session is aborted.

        client: None on a unix socket.
        """
        stranger = Stranger(network(client), session)
        with self._lock:
            self._strangers[stranger] = None
            self._of[stranger.network] += 1
            if len(self._strangers) <= self._half and self._busy() < self._threads:
                return stranger
            goes = self._who_makes_room()
            if goes is stranger:
                return stranger
            self._forget(goes)
        goes.session.abort(Cause.CROWDED)
        return stranger

    def leave(self, stranger: Stranger) -> bool:
        """A handshake has ended, however it did; False if it was to make room, whose abort is under way."""
        with self._lock:
            if stranger not in self._strangers:
                return False
            self._forget(stranger)
            return True

    def crowded(self, stranger: Stranger) -> bool:
        """Whether this handshake has only GRACE instead of the whole handshake time."""
        return (
            len(self._strangers) >= self._half
            or self._of[stranger.network] > self._eighth
            or self._busy() >= self._threads
        )

    def _who_makes_room(self) -> Stranger:
        for stranger in self._strangers:
            if self._of[stranger.network] > self._eighth:
                return stranger
        return next(iter(self._strangers))

    def _forget(self, stranger: Stranger) -> None:
        del self._strangers[stranger]
        self._of[stranger.network] -= 1
        if not self._of[stranger.network]:
            del self._of[stranger.network]


def network(client: Address | None) -> int:
    """A number for what one subscriber has: an IPv4 address, an IPv6 /64; 0 for all of unix sockets."""
    if client is None:
        return 0
    number = int(client)
    return number if client.version == 4 else number >> 64 | 1 << 64
