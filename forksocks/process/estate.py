"""What a program has counted, for the one that takes over: its sums go on as if nothing had happened.

The old program hands over a page of memory together with its place, and goes on writing its counts there
until its last tunnel has ended; the new one adds what it reads to its own, and hands the sum on in its turn.
Whatever is counted is counted by one of the two, so nothing is missing and nothing is there twice. What the
workers of an old program count after it has been killed is lost.

The last thing that it writes says that it is the last. Of three programs that follow each other the middle
one waits for that before it ends: nobody else reads the first one's page.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from forksocks.host.scoreboard.books import Totals
from forksocks.host.scoreboard.page import Page

FINAL = "final"
ROOM = 256 * 1024  # bytes: some hundred listeners that have counted everything there is


class Estate:
    """Our counts, as a successor reads them. total: all that has been counted up to now."""

    def __init__(self, total: Callable[[], Totals]) -> None:
        self._total = total
        self._page: Page | None = None
        self._written = b""

    def open(self) -> int:
        """Return a descriptor for the successor, the caller's to close. Raises OSError without memory."""
        self._page, descriptor = Page.to_hand_over(ROOM)
        self._written = b""
        self.update()
        return descriptor

    def update(self, final: bool = False) -> None:
        """Write what has been counted since; nothing where there is no successor. final: there will be no
        more."""
        if self._page is None:
            return
        text = json.dumps({**self._total().named(), FINAL: final}, separators=(",", ":")).encode()
        if text != self._written and len(text) <= ROOM:
            self._page.write(text)
            self._written = text


class Legacy:
    """What the program before us has counted; nothing where there was none."""

    def __init__(self) -> None:
        self._page: Page | None = None
        self._known = Totals()

    def take(self, descriptor: int) -> None:
        """Read from here on; the descriptor is ours now. One that is no such page is left alone."""
        try:
            self._page = Page.handed_over(descriptor)
        except (OSError, ValueError):
            self._page = None

    @property
    def is_final(self) -> bool:
        """Whether no more will be counted there, as far as `totals` has seen."""
        return self._page is None

    def totals(self) -> Totals:
        """Up to now; what was known before where it is just being written, or is not understood."""
        if self._page is not None and (text := self._page.read()):
            try:
                told = json.loads(text)
                self._known = Totals.from_named(told)
                is_final = bool(told.get(FINAL))
            except (ValueError, KeyError, TypeError, AttributeError):
                is_final = True
            if is_final:
                self._page.close()
                self._page = None
        return self._known
