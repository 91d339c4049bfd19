"""When a process that has ended is started again: at once, then later and later while it keeps ending."""

from __future__ import annotations

from time import monotonic

PAUSES = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)  # seconds
STABLE = 10.0  # a process that lived this long starts its successor at once again


class Restarts:
    """Those of one row; times on the monotonic clock. not_before: when the next may be started."""

    def __init__(self) -> None:
        self.born_at = 0.0
        self.not_before = 0.0
        self._deaths = 0

    def born(self) -> None:
        """It runs."""
        self.born_at = monotonic()

    def died(self, ran: bool) -> float:
        """It has ended, or could not be started; return after how many seconds it should be again."""
        if ran and monotonic() - self.born_at >= STABLE:
            self._deaths = 0
        pause = PAUSES[min(self._deaths, len(PAUSES) - 1)]
        self._deaths += 1
        self.not_before = monotonic() + pause
        return pause
