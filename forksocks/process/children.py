"""A row of the supervisor's table: one process that should be running, and what outlives each that does."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from itertools import count
from time import monotonic

from forksocks.host import channels, control
from forksocks.host.last_words import LastWords
from forksocks.host.sandbox.report import Report
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.books import counted
from forksocks.host.scoreboard.claims import ClaimBoard
from forksocks.process.pulse import Pulse
from forksocks.process.restarts import Restarts

# Channels of one worker to the lookup agent: how many names and how many passwords it can ask at once.
NAME_CHANNELS = 16
PASSWORD_CHANNELS = 4
# So many times longer may a main thread be silent while sessions go on.
WHILE_IT_WORKS = 4

_keys = count(1)


class Child:
    """One process that should be running: who it is, and how it is going.

    The channels to the lookup agent, and from the admin process (`orders`), belong to the row, not to the
    process: whoever dies at either end, its successor goes on with them, and what was asked meanwhile waits
    in them. So does the board; `key` is what
    the scoreboard calls it, and no two rows of a supervisor's life have the same. Raises OSError when the
    system gives no channels; board and claims are its own from the start, so they are given back then too.
    """

    def __init__(
        self,
        role: str,
        number: int,
        passwords: bool,
        board: Board,
        claims: ClaimBoard | None = None,
        give_claims: Callable[[ClaimBoard], None] = ClaimBoard.close,
    ) -> None:
        self.role = role
        self.number = number
        self.key = next(_keys)
        self.board = board
        self.claims = claims
        self.pulse = Pulse()
        self.hung = False
        self.pid: int | None = None
        self.control: socket.socket | None = None
        self.ready = False
        self.sandbox = Report()
        self.accepts = False  # was told to serve, and has not said that it let go of its listeners
        self.leaves = False  # was one too many: not to be replaced
        self.renews = False  # was told to end so that its successor is born with what there is now
        self.restarts = Restarts()
        self.kill_at: float | None = None
        self._work = Pulse()
        names = NAME_CHANNELS if role == "worker" else 0
        with ExitStack() as self._held:
            self._held.callback(board.close)
            if claims is not None:
                self._held.callback(give_claims, claims)
            self.last_words = LastWords()
            self._held.callback(self.last_words.close)
            self.orders = self._pairs(0 if role == "admin" else 1)
            self.names = self._pairs(names)
            self.passwords = self._pairs(PASSWORD_CHANNELS if names and passwords else 0)
            self._held = self._held.pop_all()

    @property
    def name(self) -> str:
        """What the log calls it: `worker 2`, `lookup`."""
        return f"{self.role} {self.number}" if self.number else self.role

    @property
    def channels(self) -> list[tuple[socket.socket, socket.socket]]:
        """All its channels to the lookup agent, of either kind."""
        return [*self.names, *self.passwords]

    def born(self, pid: int, line: socket.socket) -> None:
        """It runs."""
        self.pid, self.control = pid, line
        self.ready = self.accepts = False
        self.kill_at = None
        self.hung = self.renews = False
        self.pulse, self._work = Pulse(), Pulse()
        self.restarts.born()

    def died(self) -> float:
        """It has ended, or could not be started; return after how many seconds it should be again."""
        if self.claims is not None:
            self.claims.clear()  # what its sessions had claimed is free
        if self.control is not None:
            self.control.close()
        pause = self.restarts.died(ran=self.pid is not None)
        self.pid = self.control = None
        self.ready = self.accepts = False
        return pause

    def hangs(self, hang: float) -> bool:
        """Whether its heartbeat has stopped for that many seconds; to be asked every second or so.

        Thousands of threads that want to run keep a main thread from its turn: as long as sessions move
        bytes, begin or end, if only once in half that time, it is not blamed so soon.
        """
        silence = self.pulse.note(self.board.heartbeat())
        if not silence:
            return False
        rest = self._work.note(counted(self.board))
        return silence >= hang and (rest >= hang / 2 or silence >= hang * WHILE_IT_WORKS)

    def serve(self) -> None:
        """Let a worker that is ready accept clients; one that has died meanwhile will be seen to."""
        if self.control is not None:
            self.accepts = control.send(self.control, "serve")

    def retire(self) -> None:
        """Let a worker accept no more and take all the time that its tunnels need."""
        if self.control is not None and not control.send(self.control, "retire"):
            self.signal(signal.SIGTERM)  # it does not read, so it will not serve either

    def renew(self) -> None:
        """Have it replaced by one that is born with what there is now."""
        self.renews = self.pid is not None
        self.signal(signal.SIGTERM)

    def end(self, number: int, seconds: float) -> None:
        """Tell it to end by a signal, and know when to lose patience."""
        self.signal(number)
        self.kill_at = monotonic() + seconds

    def signal(self, number: int) -> None:
        """Send a signal; a pid stays ours until it is reaped, so it reaches nobody else."""
        if self.pid is not None:
            os.kill(self.pid, number)

    def close(self) -> None:
        """Give its channels, its pipe and its board back."""
        self._held.close()

    def _pairs(self, number: int) -> list[tuple[socket.socket, socket.socket]]:
        """So many channels, which `close` gives back."""
        pairs = []
        for _ in range(number):
            pairs.append(channels.pair())
            for end in pairs[-1]:
                self._held.callback(end.close)
        return pairs


def was_caught(status: int) -> bool:
    """Whether a process was killed by the sandbox, for a system call that only an attacker makes."""
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSYS


def describe_end(status: int) -> str:
    """Say how a process ended, from its wait status: `exit status 3`, `killed by SIGSEGV`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
