"""One point in time that bounds many steps."""

from __future__ import annotations

import math
from time import monotonic

NS = 1_000_000_000  # nanoseconds in a second


class Deadline:
    """`seconds` from now on the monotonic clock, which no change of date moves."""

    __slots__ = ("at",)

    def __init__(self, seconds: float) -> None:
        self.at = monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - monotonic())

    def milliseconds(self) -> int:
        """Whole milliseconds left, rounded up, as poll(2) takes them: a poll that times out has passed it."""
        return math.ceil(self.remaining() * 1000)

    def passed(self) -> bool:
        """Whether nothing is left."""
        return monotonic() >= self.at
