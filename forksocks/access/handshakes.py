"""Clients that have not been let in yet may be many, slow and silent; this keeps them from filling the house.

A deadline alone loses every thread to a flood of connections that say nothing. So as long as strangers hold
less than half of a worker's threads, and their own network (an IPv4 address, an IPv6 /64) less than an
eighth, each has the whole handshake time; beyond that a handshake that is not done within a second makes
room. Clients that speak are done within milliseconds and notice nothing.
"""

from __future__ import annotations

import threading
from collections import Counter

from forksocks.config.model import Address

# What a real client needs for its whole handshake when it comes to the worst, in seconds.
GRACE = 1.0


class Handshakes:
    """Counts the handshakes under way in one worker of `threads` threads. Safe for threads."""

    def __init__(self, threads: int) -> None:
        self._half = max(1, threads // 2)
        self._eighth = max(1, threads // 8)
        self._total = 0
        self._of: Counter[int] = Counter()
        self._lock = threading.Lock()

    def enter(self, client: Address | None) -> int:
        """A handshake begins; return the key for `crowded` and `leave`.

        client: None on a unix socket.
        """
        network = _network(client)
        with self._lock:
            self._total += 1
            self._of[network] += 1
        return network

    def leave(self, network: int) -> None:
        """A handshake has ended, however it did."""
        with self._lock:
            self._total -= 1
            self._of[network] -= 1
            if not self._of[network]:
                del self._of[network]

    def crowded(self, network: int) -> bool:
        """Whether a handshake from this network has only GRACE instead of the whole handshake time."""
        return self._total > self._half or self._of[network] > self._eighth


def _network(client: Address | None) -> int:
    if client is None:
        return 0
    number = int(client)
    return number if client.version == 4 else number >> 64 | 1 << 64
