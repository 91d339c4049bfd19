"""The supervisor's books: what ended processes have counted, and who is who; published in memory of its own.

A worker's board is closed when its process has been reaped: its sums go to the totals, its open sessions with
them, and the board is cleared for the successor, all between the page's `begin` and `end`. So a reader misses
nothing and sees nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import add
from typing import Any

from forksocks.host.causes import Cause
from forksocks.host.scoreboard import layout, reading, refusals
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.page import Page
from forksocks.host.scoreboard.reading import Tally
from forksocks.host.scoreboard.refusals import SIZE, Entry, Refusals
from forksocks.host.shared import Shared, shared_memory

ROOM = 256 * 1024  # bytes of what is published; pages that are not used cost nothing
# How often a reader tries, and how long it waits after a try: the supervisor may be waiting for its turn on
# the processor.
MOST_TRIES = 500
PAUSE = 0.002


@dataclass(slots=True)
class Totals:
    """What has been counted by processes that have ended.

    listeners: by name, layout.COUNTERS. heads: layout.HEAD_COUNTERS, over all workers. deaths: processes that
    have ended unasked, by how.
    """

    listeners: Tally = field(default_factory=dict)
    heads: list[int] = field(default_factory=lambda: [0] * len(layout.HEAD_COUNTERS))
    deaths: dict[str, int] = field(default_factory=dict)

    def add(self, counted: Tally, heads: list[int]) -> None:
        """Add what one process has counted."""
        for name, counters in counted.items():
            before = self.listeners.get(name, [0] * len(layout.COUNTERS))
            self.listeners[name] = list(map(add, before, counters))
        self.heads = list(map(add, self.heads, heads))

    def take(self, other: Totals) -> None:
        """Add all that another has counted."""
        self.add(other.listeners, other.heads)
        for how, number in other.deaths.items():
            self.died(how, number)

    def died(self, how: str, number: int = 1) -> None:
        """A process has ended unasked; how: as the log says it."""
        self.deaths[how] = self.deaths.get(how, 0) + number

    def named(self) -> dict[str, Any]:
        """As JSON carries them: counters that are not 0 by name, for a program that may know others."""
        return {
            "listeners": {
                name: {each: number for each, number in zip(layout.COUNTERS, counters, strict=True) if number}
                for name, counters in self.listeners.items()
            },
            "heads": dict(zip(layout.HEAD_COUNTERS, self.heads, strict=True)),
            "deaths": dict(self.deaths),
        }

    @classmethod
    def from_named(cls, named: Mapping[str, Any]) -> Totals:
        """What `named` gave, here or in another version of this program: what is missing is 0."""
        listeners = {
            str(name): [int(counters.get(each, 0)) for each in layout.COUNTERS]
            for name, counters in named["listeners"].items()
        }
        deaths = {str(how): int(number) for how, number in named.get("deaths", {}).items()}
        return cls(listeners, [int(named["heads"].get(each, 0)) for each in layout.HEAD_COUNTERS], deaths)


def counted(board: Board) -> tuple[Tally, list[int]]:
    """What one process has counted up to now."""
    head = reading.head(board)
    return reading.tally(board), [head.full_times, head.full_ns]


class Books:
    """The supervisor's side; `page` is what is published, `refused` what ended processes have refused.

    facts: whatever it wants readers to know, as JSON can carry them.
    """

    def __init__(self) -> None:
        self.totals = Totals()
        self.page = Page.make(ROOM)
        self.refused = Shared(*shared_memory(SIZE))

    def only_read(self) -> None:
        """Give the writable views up, in a process that reads."""
        self.page.only_read()
        self.refused.only_read()

    def forget(self) -> None:
        """Give all of it up, in a process that has no use for it."""
        self.page.close()
        self.refused.close()

    def close(self, board: Board, cause: Cause, facts: Mapping[str, Any]) -> int:
        """The process of `board` has ended: book what it has counted, and its open sessions with `cause`.

        Returns how many sessions were open. The board is as new afterwards.
        """
        self.page.begin()
        sums, heads = counted(board)
        lost = 0
        for counters in sums.values():
            left = reading.open_sessions(counters)
            counters[layout.ENDS + cause.number] += left
            lost += left
        self.totals.add(sums, heads)
        self._take_refusals(board)
        board.clear()
        self._end(facts)
        return lost

    def publish(self, facts: Mapping[str, Any]) -> None:
        """Let readers know."""
        self.page.begin()
        self._end(facts)

    def _take_refusals(self, board: Board) -> None:
        if board.refusals is None:
            return
        there = refusals.entries(board.readable, board.refusals)
        if there:
            newest = sorted([*refusals.entries(self.refused.readable), *there])[-refusals.MOST :]
            Refusals(self.refused.writable).replace(newest)
            board.writable[board.refusals : board.refusals + SIZE] = bytes(SIZE)

    def _end(self, facts: Mapping[str, Any]) -> None:
        text = json.dumps({**facts, "closed": self.totals.named()}, separators=(",", ":")).encode()
        # More than that are listeners without number: totals are kept, and not shown.
        self.page.end(text if len(text) <= ROOM else b"{}")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader saw at one moment: the supervisor's facts, and all boards by their key.

    totals: of everything, with `before`, what programs before this one have counted.
    """

    facts: Mapping[str, Any]
    totals: Totals
    sums: Mapping[int, Tally]
    before: Totals = field(default_factory=Totals)


def see_refusals(page: Page, boards: Mapping[int, Board], refused: Shared) -> list[Entry]:
    """What all workers have refused last, the oldest first; `refused`: what ended ones have. Raises
    Unsettled."""

    def look() -> list[Entry]:
        rings = [(board.readable, board.refusals) for board in boards.values()]
        rings.append((refused.readable, 0))
        return [
            each for memory, first in rings if first is not None for each in refusals.entries(memory, first)
        ]

    seen = page.see(look, MOST_TRIES, PAUSE)
    if seen is None:
        raise Unsettled
    return sorted(seen[1])


class Unsettled(Exception):
    """The books were being written all the time; the supervisor may have stopped in the middle."""


def see(page: Page, boards: Mapping[int, Board]) -> Seen:
    """Read the page and every board so that they belong together. Raises Unsettled."""
    seen = page.see(lambda: {key: counted(board) for key, board in boards.items()}, MOST_TRIES, PAUSE)
    if seen is None:
        raise Unsettled
    text, open_boards = seen
    facts = json.loads(text)
    closed, before = (
        Totals.from_named(facts.pop(name, {"listeners": {}, "heads": {}})) for name in ("closed", "before")
    )
    totals = Totals()
    for sums, heads in open_boards.values():
        totals.add(sums, heads)
    for each in (closed, before):
        totals.take(each)
    return Seen(facts, totals, {key: sums for key, (sums, _) in open_boards.items()}, before)
