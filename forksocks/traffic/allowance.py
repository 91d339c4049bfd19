"""So many datagrams a second, and some at once: what one association may have."""

from __future__ import annotations

from forksocks.config.model import Rate


class Allowance:
    """A leaky bucket that is charged afterwards: what went beyond the rate is waited for before more comes.

    Times are seconds of the monotonic clock.
    """

    __slots__ = ("_at", "_level", "_rate")

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._level = 0.0  # how many are in the bucket, at the time `_at`
        self._at = 0.0

    def charge(self, count: int, now: float) -> None:
        """So many have passed."""
        self._leak(now)
        self._level += count

    def rest(self, now: float) -> float:
        """Seconds until another may pass; 0.0 for at once."""
        self._leak(now)
        return max(0.0, (self._level + 1 - self._rate.burst) / self._rate.per_second)

    def _leak(self, now: float) -> None:
        self._level = max(0.0, self._level - (now - self._at) * self._rate.per_second)
        self._at = now
