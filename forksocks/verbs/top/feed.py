"""Asks the server again and again, in a thread of its own, so that keys are heard while an answer is awaited.

It waits for an answer's time tenfold before it asks again: however many tunnels there are, the server is not
kept busy for more than a tenth of a core.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from forksocks.verbs.verb import NoServer, Refused

EVERY = 1.0  # seconds from one question to the next
SHARE = 10  # times that an answer took, until the next question

Object = dict[str, Any]
Ask = Callable[[str, Mapping[str, str]], Iterator[Object]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked at: the tunnels of a page, and the rows of another kind if `kind` is not "tunnels"."""

    kind: str
    filters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Look:
    """What an answer said, at one moment of the monotonic clock.

    fit: how many tunnels fit the filters, of which `rows` are a page; of another kind rows are all there are.
    """

    at: float
    wanted: Wanted
    status: Mapping[str, Any]
    fit: int
    rows: Sequence[Object]


class Feed:
    """`news` tells what has come since it was last asked; `want` changes the question, which is put at once.

    `end_tunnel` has one ended, and `news` says what came of it.
    """

    def __init__(self, ask: Ask, wanted: Wanted) -> None:
        self._ask = ask
        self._wanted = wanted
        self._changed = threading.Condition()
        self._look: Look | None = None
        self._error = self._said = ""
        self._doomed: list[str] = []
        self._again = True
        self._frozen = self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def end(self) -> None:
        """Ask no more; an answer that is awaited may still be."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def want(self, wanted: Wanted) -> None:
        """Ask for this from now on."""
        with self._changed:
            if wanted != self._wanted:
                self._wanted, self._again = wanted, True
                self._changed.notify()

    def freeze(self, frozen: bool) -> None:
        """Stop asking, or go on."""
        with self._changed:
            self._frozen, self._again = frozen, not frozen
            self._changed.notify()

    def end_tunnel(self, name: str) -> None:
        """End the tunnel with this id, and look anew."""
        with self._changed:
            self._doomed.append(name)
            self._again = True
            self._changed.notify()

    def news(self) -> tuple[Look | None, str, str]:
        """The last look, once; what came of an order; what is wrong now; None and "" for nothing."""
        with self._changed:
            look, self._look = self._look, None
            said, self._said = self._said, ""
            return look, said, self._error

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(self._must_go_on, pause)
                if self._ended:
                    return
                if self._frozen and not self._again:
                    pause = EVERY
                    continue
                wanted, self._again = self._wanted, False
                doomed, self._doomed = self._doomed, []
            said = ", ".join(map(self._ended_one, doomed))
            began = monotonic()
            look, error = self._asked(wanted)
            took = monotonic() - began
            pause = pause_after(took)
            with self._changed:
                self._error = error
                self._said = said or self._said
                self._look = look or self._look

    def _must_go_on(self) -> bool:
        return self._again or self._ended

    def _ended_one(self, name: str) -> str:
        try:
            return f"ended {name}" if list(self._ask("end", {"id": name})) else f"{name} had ended already"
        except (NoServer, Refused) as error:
            return str(error)

    def _asked(self, wanted: Wanted) -> tuple[Look | None, str]:
        try:
            head, *rows = self._ask("top", wanted.filters)
            if wanted.kind in ("users", "clients"):
                rows = list(self._ask(wanted.kind, {}))
            elif wanted.kind != "tunnels":
                rows = head["status"][wanted.kind]
        except (NoServer, Refused) as error:
            return None, str(error)
        except (ValueError, KeyError, TypeError):
            return None, "the answer is not understood: another version?"
        return Look(monotonic(), wanted, head["status"], head["fit"], rows), ""


def pause_after(took: float) -> float:
    """Seconds to wait after an answer that took so many."""
    return max(EVERY - took, took * SHARE)
