"""Clients that have not been let in yet may be many, slow and silent; this keeps them from filling the house.

A deadline alone loses every thread to a flood of connections that say nothing (CVE-2010-5107). So strangers
hold at most half of a worker's threads, and never the last one: whoever comes beyond that is served, and the
stranger makes room who has been here longest of the most crowded networks. Only silence counts, though: a
crowd that speaks, as when many tunnels end and a whole queue of clients comes in, is served and not cut; and
who has spoken and waits for us, as for a password to be checked, goes only where the silent are too few. As
long as there is a crowd (a network with more than an eighth of the threads, an IPv4 address or an IPv6 /64,
is one by itself) a handshake for whose bytes we have waited a second ends, in place of its whole time: a
flood that is cut at once comes again at once, so it is better kept waiting. Clients that speak are done
within milliseconds and notice nothing.
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

    since: when we last began to wait for its bytes, or it for us, on the monotonic clock. heard: whether it
    waits for us. silent: for how many seconds in all, up to then, we have waited for its bytes.
    """

    __slots__ = ("heard", "network", "session", "silent", "since")

    def __init__(self, network: int, session: Abortable, since: float) -> None:
        self.network = network
        self.session = session
        self.since = since
        self.heard = False
        self.silent = 0.0

    def awaited(self, now: float) -> None:
        """It is its turn to speak."""
        self.since, self.heard = now, False

    def spoke(self, now: float) -> None:
        """It is ours."""
        self.silent += now - self.since
        self.since, self.heard = now, True

    def silence(self, now: float) -> float:
        """For how many seconds in all we have waited for its bytes."""
        return self.silent if self.heard else self.silent + now - self.since


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
        """Abort the strangers that are too many, those only who have waited, or been waited for, a MOMENT."""
        going = []
        with self._lock:
            many = len(self._strangers)
            too_many = max(many - self._half, int(many > 1 and self._busy() >= self._threads))
            latest = self._clock() - MOMENT
            while too_many > 0 and (goes := self._who_makes_room(latest, too_many)) is not None:
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

    def _who_makes_room(self, latest: float, too_many: int) -> Stranger | None:
        """Of those with whom nothing has happened since `latest` a silent one, of a crowd if there is one.

        One who waits for us goes where the silent, all of them, are less than those who are too many.
        """
        first: dict[tuple[bool, bool], Stranger] = {}
        silent = 0
        for stranger in self._strangers:
            silent += not stranger.heard
            if stranger.since <= latest:
                kind = (stranger.heard, self._of[stranger.network] <= self._eighth)
                if kind == (False, False):
                    return stranger
                first.setdefault(kind, stranger)
        kinds = [kind for kind in first if not kind[0] or silent < too_many]
        return first[min(kinds)] if kinds else None

    def _forget(self, stranger: Stranger) -> None:
        del self._strangers[stranger]
        left = self._of.pop(stranger.network) - 1
        if left:
            self._of[stranger.network] = left
