"""A generation: one reading of the configuration, and the processes that serve by it.

The first one is made at the start, each reload makes the next. One that is told to end does so on its own
time: its workers finish what they carry, its agent stays for as long as they may ask.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Sequence
from time import monotonic

from forksocks.access import policy
from forksocks.access.limits import columns
from forksocks.config.model import AuthMethod, Config
from forksocks.host.deadline import Deadline
from forksocks.host.last_words import SPEAK_AND_DIE
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.claims import ClaimBoard
from forksocks.host.version import Version
from forksocks.process.children import Child
from forksocks.process.listeners import Listener
from forksocks.process.users_watch import UsersWatch

# Seconds beyond its own deadline after which a child that was told to end is killed.
MERCY = 5.0
# Seconds in which a child that hangs may say where.
LAST_WORD = 1.0


class Generation:
    """The rows of one generation: its agent, its workers, and what all of them share. Raises PolicyError."""

    def __init__(self, number: int, config: Config, listeners: Sequence[Listener]) -> None:
        self.number = number
        self.config = config
        self.listeners = listeners
        self.addresses = tuple(listener.address for listener in listeners)
        self.rules = policy.compiled(config)
        self.users = UsersWatch(config.auth.users)
        self.users_version = Version()
        passwords = any(AuthMethod.PASSWORD in listen.auth for listen in config.listen)
        self.agent = Child("lookup", 0, False, Board.make())
        self.workers = [self._worker(number, passwords) for number in range(1, config.server.workers + 1)]
        self.ending = False

    def _worker(self, number: int, passwords: bool) -> Child:
        threads = self.config.server.threads
        board = Board.make([listen.name for listen in self.config.listen], threads)
        claims = ClaimBoard.make(threads, columns(self.config)) if self.config.limit else None
        return Child("worker", number, passwords, board, claims)

    @property
    def children(self) -> list[Child]:
        """All rows, the agent first."""
        return [self.agent, *self.workers]

    @property
    def is_ready(self) -> bool:
        """Whether every worker serves."""
        return all(child.ready for child in self.children)

    @property
    def is_gone(self) -> bool:
        """Whether it has ended and its last process was reaped."""
        return self.ending and not any(child.pid for child in self.children)

    def vacancies(self) -> list[Child]:
        """The rows without a process that should have one now."""
        return [child for child in self._missing() if monotonic() >= child.not_before]

    def end(self, number: int, seconds: float) -> None:
        """Tell the workers to end by a signal that gives them `seconds`, and know when to lose patience."""
        self.ending = True
        deadline = Deadline(seconds)
        for worker in self.workers:
            worker.signal(number)
            worker.kill_at = deadline.at + MERCY

    def press_the_slow(self) -> None:
        """Let the agent go once nobody asks any more, and kill who should have ended long ago."""
        if self.ending and self.agent.kill_at is None and not self._has_workers():
            self.agent.kill_at = monotonic() + MERCY
            self.agent.signal(signal.SIGTERM)
        for child in self.children:
            if child.kill_at is not None and monotonic() >= child.kill_at:
                child.kill_at = None
                child.signal(signal.SIGKILL)

    def newly_hung(self) -> list[Child]:
        """Tell children whose heartbeat has stopped for `hang` to say where and die; return which these
        are."""
        hung = []
        for child in self.children:
            if child.pid is None or child.hung:
                continue
            if child.pulse.feel(child.board.heartbeat()) >= self.config.server.hang:
                child.hung = True
                child.signal(SPEAK_AND_DIE)
                child.kill_at = monotonic() + LAST_WORD
                hung.append(child)
        return hung

    def due(self) -> list[float]:
        """The times, on the monotonic clock, at which something has to be done for it."""
        due = [child.kill_at for child in self.children if child.kill_at is not None]
        return due + [child.not_before for child in self._missing()]

    def close(self) -> None:
        """Give back what its rows hold."""
        for child in self.children:
            child.close()

    def _missing(self) -> list[Child]:
        """Rows that should have a process and have none; whoever ends is not replaced, but may still ask."""
        wanted = self.children
        if self.ending:
            wanted = [self.agent] if self._has_workers() else []
        return [child for child in wanted if child.pid is None]

    def _has_workers(self) -> bool:
        return any(worker.pid for worker in self.workers)


def find(generations: Sequence[Generation], pid: int) -> tuple[Generation, Child] | None:
    """The row of a process."""
    with contextlib.suppress(StopIteration):
        return next((each, child) for each in generations for child in each.children if child.pid == pid)
    return None
