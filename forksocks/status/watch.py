"""The scoreboard over time: what is there now, and how fast it changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic

from forksocks.host.scoreboard import layout
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.books import Seen, Unsettled, see, see_refusals
from forksocks.host.scoreboard.page import Page
from forksocks.host.scoreboard.refusals import Entry
from forksocks.host.shared import Shared

EVERY = 2.0  # seconds between two samples
OVER = 10.0  # seconds that rates are the mean of


@dataclass(frozen=True, slots=True)
class Sample:
    """The totals that rates are made of, at one moment."""

    at: float
    accepted: int
    up: int
    down: int


class Watch:
    """Reads the scoreboard; `boards` are the workers', by their key. Raises Unsettled as `see` does.

    refused: what ended workers have refused.
    """

    def __init__(self, page: Page, boards: Mapping[int, Board], refused: Shared) -> None:
        self.boards = boards
        self._page = page
        self._refused = refused
        self._samples: deque[Sample] = deque(maxlen=int(OVER / EVERY) + 1)

    def see(self) -> Seen:
        """What the scoreboard says now."""
        return see(self._page, self.boards)

    def refusals(self) -> list[Entry]:
        """What was refused last, the oldest first."""
        return see_refusals(self._page, self.boards, self._refused)

    def sample(self) -> None:
        """Remember the totals, if the last time is EVERY ago; what cannot be read now is left out."""
        now = monotonic()
        if self._samples and now - self._samples[-1].at < EVERY:
            return
        try:
            listeners = self.see().totals.listeners.values()
        except Unsettled:
            return
        accepted, up, down = (
            sum(counters[each] for counters in listeners)
            for each in (layout.ACCEPTED, layout.UP, layout.DOWN)
        )
        self._samples.append(Sample(now, accepted, up, down))

    def rates(self) -> dict[str, float]:
        """Connections and bytes a second over the last OVER seconds, or since the first sample."""
        if len(self._samples) < 2:
            return {"connections": 0.0, "up": 0.0, "down": 0.0}
        first, last = self._samples[0], self._samples[-1]
        seconds = last.at - first.at
        return {
            "connections": (last.accepted - first.accepted) / seconds,
            "up": (last.up - first.up) / seconds,
            "down": (last.down - first.down) / seconds,
        }
