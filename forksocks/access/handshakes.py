"""Clients that have not been let in yet may be many, slow and silent; this keeps them from filling the house.

A deadline alone loses every thread to a flood of connections that say nothing (CVE-2010-5107). So strangers
hold at most half of a worker's threads, and never the last one: whoever comes beyond that is served, and the
stranger makes room who has been here longest of the most crowded networks. Only silence counts, though: a
crowd that speaks, as when many tunnels end and a whole queue of clients comes in, is served and not cut. And
as long as there is a crowd (a network with more than an eighth of the threads, an IPv4 address or an IPv6
/64, is one by itself) a handshake that is not done within a second ends, in place of its whole time: a flood
that is cut at once comes again at once, so it is better kept waiting. Clients that speak are done within
milliseconds and notice nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from forksocks.config.model import Address
from forksocks.host.causes import Cause
from forksocks.host.subscriber import subscriber

# What a real client needs for its whole handshake when it comes to the worst, in seconds.
GRACE = 1.0
# Silence that may be nothing but distance, in seconds: before it nobody makes room.
MOMENT = 0.3


class Abortable(Protocol):
    """A session."""

    def abort(self, cause: Cause) -> None:
        """End it from another thread."""


class Stranger:
    """One who has not been let in yet.

    since: when we last began to wait for its bytes, on the monotonic clock.
    """

    __slots__ = ("network", "session", "since")

    def __init__(self, network: int, session: Abortable, since: float) -> None:
        self.network = network
        self.session = session
        self.since = since


class Handshakes:
    """The strangers in one worker of `threads` threads, of which `busy` says how many serve. Thread-safe."""

    def __init__(self, threads: int, busy: Callable[[], int], clock: Callable[[], float] = monotonic) -> None:
        self._threads = threads
        self._half = max(1, threads // 2)
        self._eighth = max(1, threads // 8)
        self._busy = busy
        self._clock = clock
        self._strangers: dict[Stranger, None] = {}  # the one who has been here longest comes first
        self._of: dict[int, int] = {}  # how many of each network
        self._lock = threading.Lock()

    def enter(self, client: Address | None, session: Abortable) -> Stranger:
        """A handshake begins; where it is one too many, a silent one's session is aborted.

        client: None on a unix socket.
        """
        stranger = Stranger(subscriber(client), session, self._clock())
        with self._lock:
            self._strangers[stranger] = None
            self._of[stranger.network] = self._of.get(stranger.network, 0) + 1
        if self.is_tight:
            self.make_room()
        return stranger

    @property
    def is_tight(self) -> bool:
        """Whether strangers are too many, so that those who wait for one have to `make_room` now and then."""
        return len(self._strangers) > self._half or self._busy() >= self._threads

    def make_room(self) -> None:
        """Abort the strangers that are too many, those only who have been silent for a MOMENT."""
        going = []
        with self._lock:
            many = len(self._strangers)
            too_many = max(many - self._half, int(many > 1 and self._busy() >= self._threads))
            latest = self._clock() - MOMENT
            while too_many > 0 and (goes := self._who_makes_room(latest)) is not None:
                self._forget(goes)
                going.append(goes)
                too_many -= 1
        for each in going:
            each.session.abort(Cause.CROWDED)

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
            or self._of.get(stranger.network, 0) > self._eighth
            or self._busy() >= self._threads
        )

    def _who_makes_room(self, latest: float) -> Stranger | None:
        """Of those who have been silent since `latest`, or longer."""
        first = None
        for stranger in self._strangers:
            if stranger.since <= latest:
                if self._of[stranger.network] > self._eighth:
                    return stranger
                first = first or stranger
        return first

    def _forget(self, stranger: Stranger) -> None:
        del self._strangers[stranger]
        left = self._of.pop(stranger.network) - 1
        if left:
            self._of[stranger.network] = left
