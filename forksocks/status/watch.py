"""The scoreboard over time: what is there now, and how fast it changes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic, monotonic_ns
from typing import NamedTuple

from forksocks.host.deadline import NS
from forksocks.host.scoreboard import layout, reading
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.books import Seen, Unsettled, see, see_refusals
from forksocks.host.scoreboard.page import Page
from forksocks.host.scoreboard.refusals import Entry
from forksocks.host.shared import Shared

EVERY = 2.0  # seconds between two samples
OVER = 10.0  # seconds that rates are the mean of
# A session's rate is the mean since somebody looked: at least, and at most, so many seconds ago.
LEAST, MOST = 0.9, 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The totals that rates are made of, at one moment."""

    at: float
    accepted: int
    up: int
    down: int


class Move(NamedTuple):
    """How far a session has come, and how fast it goes. key: of its worker; place to down as of
    reading.Stride; the rates in bytes a second."""

    key: int
    place: int
    number: int
    started: int
    active: int
    up: int
    down: int
    up_rate: float
    down_rate: float


# By a worker's key and a session's number: the bytes that it had moved.
Moved = dict[tuple[int, int], tuple[int, int]]


class Watch:
    """Reads the scoreboard; `boards` are the workers', by their key. Raises Unsettled as `see` does.

    refused: what ended workers have refused.
    """

    def __init__(self, page: Page, boards: Mapping[int, Board], refused: Shared) -> None:
        self.boards = boards
        self._page = page
        self._refused = refused
        self._samples: deque[Sample] = deque(maxlen=int(OVER / EVERY) + 1)
        self._before: deque[tuple[int, Moved]] = deque()
        self._lock = threading.Lock()

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

    def moves(self) -> list[Move]:
        """All sessions under way, with their rates since somebody last looked, or since their start.

        Nothing is kept for it while nobody asks. Safe for threads.
        """
        with self._lock:
            now = monotonic_ns()
            while self._before and now - self._before[0][0] > MOST * NS:
                self._before.popleft()
            while len(self._before) > 1 and now - self._before[1][0] >= LEAST * NS:
                self._before.popleft()
            then, before = self._before[0] if self._before else (now, {})
            found = [
                Move(key, *stride, *_rates(stride, before.get((key, stride.number)), now, now - then))
                for key, board in self.boards.items()
                for stride in reading.strides(board)
            ]
            if not self._before or now - self._before[-1][0] >= LEAST * NS:
                self._before.append((now, {(each.key, each.number): (each.up, each.down) for each in found}))
            return found


def _rates(
    stride: reading.Stride, before: tuple[int, int] | None, now: int, passed: int
) -> tuple[float, float]:
    """Bytes a second each way; `passed` ns since `before`, which is None for one that was not there."""
    up, down = before or (0, 0)
    seconds = max(passed if before else now - stride.started, LEAST * NS) / NS
    return max(0, stride.up - up) / seconds, max(0, stride.down - down) / seconds
