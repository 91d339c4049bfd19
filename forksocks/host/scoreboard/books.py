"""The supervisor's books: what ended processes have counted, and who is who; published in memory of its own.

A worker's board is closed when its process has been reaped: its sums go to the totals, its open sessions with
them, and the board is cleared for the successor, between two steps of one sequence number. A reader who sees
an odd number, or another one at the end than at the start, reads again: nothing is missing and nothing is
there twice.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import add
from typing import Any

from forksocks.host import kernel
from forksocks.host.causes import Cause
from forksocks.host.scoreboard import layout, reading
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.reading import Tally

ROOM = 256 * 1024  # bytes of what is published; pages that are not used cost nothing
_HEAD = struct.Struct("=QQ")  # sequence number, length
# How often a reader tries, and how long it waits after a try: the supervisor may be waiting for its turn on
# the processor.
MOST_TRIES = 500
PAUSE = 0.002


@dataclass(slots=True)
class Totals:
    """What has been counted by processes that have ended.

    listeners: by name, layout.COUNTERS. heads: layout.HEAD_COUNTERS, over all workers.
    """

    listeners: Tally = field(default_factory=dict)
    heads: list[int] = field(default_factory=lambda: [0] * len(layout.HEAD_COUNTERS))

    def add(self, counted: Tally, heads: list[int]) -> None:
        """Add what one process has counted."""
        for name, counters in counted.items():
            before = self.listeners.get(name, [0] * len(layout.COUNTERS))
            self.listeners[name] = list(map(add, before, counters))
        self.heads = list(map(add, self.heads, heads))

    def named(self) -> dict[str, Any]:
        """As JSON carries them: every counter by its name, for a program that may know others."""
        return {
            "listeners": {
                name: dict(zip(layout.COUNTERS, counters, strict=True))
                for name, counters in self.listeners.items()
            },
            "heads": dict(zip(layout.HEAD_COUNTERS, self.heads, strict=True)),
        }

    @classmethod
    def from_named(cls, named: Mapping[str, Any]) -> Totals:
        """What `named` gave, here or in another version of this program: what is missing is 0."""
        listeners = {
            str(name): [int(counters.get(each, 0)) for each in layout.COUNTERS]
            for name, counters in named["listeners"].items()
        }
        return cls(listeners, [int(named["heads"].get(each, 0)) for each in layout.HEAD_COUNTERS])


def counted(board: Board) -> tuple[Tally, list[int]]:
    """What one process has counted up to now."""
    head = reading.head(board)
    return reading.tally(board), [head.full_times, head.full_ns]


class Books:
    """The supervisor's side. `facts` are whatever it wants readers to know, as JSON can carry them."""

    def __init__(self) -> None:
        self.totals = Totals()
        self._page = Board(*kernel.shared_memory(ROOM), (), 0)
        self._sequence = 0

    @property
    def page(self) -> Board:
        """The memory that is published."""
        return self._page

    def close(self, board: Board, cause: Cause, facts: Mapping[str, Any]) -> int:
        """The process of `board` has ended: book what it has counted, and its open sessions with `cause`.

        Returns how many sessions were open. The board is as new afterwards.
        """
        self._begin()
        sums, heads = counted(board)
        lost = 0
        for counters in sums.values():
            left = reading.open_sessions(counters)
            counters[layout.ENDS + cause.number] += left
            lost += left
        self.totals.add(sums, heads)
        board.clear()
        self._end(facts)
        return lost

    def publish(self, facts: Mapping[str, Any]) -> None:
        """Let readers know."""
        self._begin()
        self._end(facts)

    def _begin(self) -> None:
        self._sequence += 1
        _HEAD.pack_into(self._page.writable, 0, self._sequence, 0)

    def _end(self, facts: Mapping[str, Any]) -> None:
        text = json.dumps({**facts, "closed": self.totals.named()}, separators=(",", ":")).encode()
        if len(text) > ROOM - _HEAD.size:  # listeners without number: totals are kept, and not shown
            text = b"{}"
        self._page.writable[_HEAD.size : _HEAD.size + len(text)] = text
        self._sequence += 1
        _HEAD.pack_into(self._page.writable, 0, self._sequence, len(text))


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader saw at one moment: the supervisor's facts, and all boards by their key.

    totals: of everything, with `before`, what programs before this one have counted.
    """

    facts: Mapping[str, Any]
    totals: Totals
    sums: Mapping[int, Tally]
    before: Totals = field(default_factory=Totals)


class Unsettled(Exception):
    """The books were being written all the time; the supervisor may have stopped in the middle."""


def see(page: Board, boards: Mapping[int, Board]) -> Seen:
    """Read the page and every board so that they belong together. Raises Unsettled."""
    for _ in range(MOST_TRIES):
        sequence, length = _HEAD.unpack_from(page.readable, 0)
        if sequence % 2 or length > ROOM - _HEAD.size:
            time.sleep(PAUSE)
            continue
        text = page.readable[_HEAD.size : _HEAD.size + length]
        totals = Totals()
        sums = {}
        for key, board in boards.items():
            sums[key], heads = counted(board)
            totals.add(sums[key], heads)
        if _HEAD.unpack_from(page.readable, 0)[0] == sequence:
            facts = json.loads(text)
            closed, before = (
                Totals.from_named(facts.pop(name, {"listeners": {}, "heads": {}}))
                for name in ("closed", "before")
            )
            for each in (closed, before):
                totals.add(each.listeners, each.heads)
            return Seen(facts, totals, sums, before)
    raise Unsettled
