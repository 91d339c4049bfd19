"""The supervisor's view of its processes, as it publishes it on the scoreboard, and the closing of a
board."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import monotonic_ns
from typing import Any

from forksocks import __version__
from forksocks.host.causes import Cause
from forksocks.host.deadline import NS
from forksocks.host.log.lines import Field
from forksocks.host.sandbox.report import summary
from forksocks.host.scoreboard import reading
from forksocks.host.scoreboard.books import Books, Totals, counted
from forksocks.host.scoreboard.identity import identity
from forksocks.host.scoreboard.reading import Tunnel
from forksocks.process.children import Child
from forksocks.process.estate import Estate, Legacy
from forksocks.process.generation import Generation
from forksocks.process.outcomes import Outcomes


class Ledger:
    """Keeps the books of all generations; publishes whatever has changed since the last look."""

    def __init__(self, generations: Sequence[Generation], outcomes: Outcomes) -> None:
        self.books = Books()
        self.legacy = Legacy()
        self.estate = Estate(self.total)
        self._outcomes = outcomes
        self._generations = generations
        self._serving = generations[-1]
        self._published: dict[str, Any] = {}
        self._started_ns = monotonic_ns()

    def total(self) -> Totals:
        """All that has been counted up to now: before us, by who has ended, and by who still runs."""
        found = Totals()
        for each in (self.legacy.totals(), self.books.totals):
            found.take(each)
        for board in (child.board for each in self._generations for child in each.workers):
            found.add(*counted(board))
        return found

    def publish(self, state: str, serving: Generation) -> None:
        """Let readers know who is who; cheap when nothing has changed. state: what the server is doing."""
        self._serving = serving
        facts = self._facts(state)
        if facts != self._published:
            self._published = facts
            self.books.publish(facts)

    def close(self, child: Child, how: str, as_asked: bool) -> list[dict[str, Field]]:
        """The process of a row has ended: book what it has counted; return its open sessions, for the log.

        how: as the log says it. as_asked: it has ended as it was told to, with status 0.
        """
        cause = Cause.DRAINED if as_asked else Cause.WORKER_CRASH
        lost = [_last_line(child, tunnel, cause) for tunnel in reading.tunnels(child.board)]
        if not as_asked:
            self.books.totals.died(how)
        self.books.close(child.board, cause, self._facts(str(self._published.get("state", ""))))
        return lost

    def _facts(self, state: str) -> dict[str, Any]:
        current = self._serving
        return {
            "version": __version__, "pid": os.getpid(), "state": state,
            "started_ns": self._started_ns, "generation": current.number,
            "threads": current.config.server.threads,
            "listeners": [
                {"name": listener.config.name, "address": address}
                for listener, address in zip(current.listeners, current.addresses, strict=True)
            ],
            "processes": [
                _process(each, child) for each in self._generations for child in each.children if child.pid
            ],
            "sandbox": _sandbox(current),
            "outcomes": self._outcomes.named(),
            "before": self.legacy.totals().named(),
        }  # fmt: skip


def _sandbox(serving: Generation) -> dict[str, str]:
    """The layers that hold in all of its workers and its agent, and those that any is without, and why."""
    held, missing = summary(child.sandbox for child in (*serving.workers, serving.agent) if child.ready)
    return {"mode": serving.config.server.sandbox.value, "holds": held, "missing": missing}


def _process(each: Generation, child: Child) -> dict[str, Any]:
    return {
        "key": child.key, "role": child.role, "number": child.number, "pid": child.pid,
        "generation": each.number, "born_ns": int(child.restarts.born_at * NS), "ready": child.ready,
        "ending": each.ending,
    }  # fmt: skip


def _last_line(child: Child, tunnel: Tunnel, cause: Cause) -> dict[str, Field]:
    """What a session would have logged at its end, as far as the scoreboard knows it."""
    return {
        "id": identity(child.number, tunnel.number), "listen": tunnel.listener, "client": tunnel.client,
        "user": tunnel.user or None, "cmd": tunnel.command or None, "to": tunnel.asked or None,
        "addr": tunnel.reached or None, "cause": cause.value, "up": tunnel.up, "down": tunnel.down,
        "total": max(0, monotonic_ns() - tunnel.started) / NS,
    }  # fmt: skip
