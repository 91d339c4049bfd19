"""The programs that check passwords, started by the supervisor and started again when they end.

Nobody else can start them: the lookup agent, which asks them, may run no program. Each gets three pipes as
its standard descriptors, whose other ends go to the agent over its line; of the server it gets nothing more:
no other descriptor, no environment, no signal that is blocked or ignored, and an account that may be its own.
It lives as long as the agent that has its pipes.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
from collections.abc import Sequence
from time import monotonic
from typing import NoReturn

from forksocks.config.model import Config
from forksocks.host import control, signals
from forksocks.host.log import Log
from forksocks.host.sandbox import privileges
from forksocks.host.sandbox.privileges import Identity
from forksocks.process.restarts import Restarts

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
UMASK = 0o077
NOT_RUN = 127  # exit status of a program that could not be run, as a shell has it

Pipes = tuple[int, int, int]


class Row:
    """One program that should be running."""

    def __init__(self, number: int) -> None:
        self.name = f"helper {number}"
        self.pid: int | None = None
        self.restarts = Restarts()

    def born(self, pid: int) -> None:
        """It runs."""
        self.pid = pid
        self.restarts.born()

    def died(self) -> float:
        """It has ended, or could not be started; return after how many seconds it should be again."""
        pause = self.restarts.died(ran=self.pid is not None)
        self.pid = None
        return pause


class HelperRows:
    """The programs of one generation; none where the configuration names none."""

    def __init__(self, config: Config, log: Log) -> None:
        self._command = config.helper.command
        self._user = config.helper.user or config.server.user
        self._log = log
        self._rows = [Row(number + 1) for number in range(config.helper.processes if self._command else 0)]
        self._kill_at: float | None = None
        self._ending = False

    @property
    def pids(self) -> list[int]:
        """The processes that run now."""
        return [row.pid for row in self._rows if row.pid is not None]

    def due(self, line: socket.socket | None) -> list[float]:
        """The times, on the monotonic clock, at which one has to be started or killed; None: no agent."""
        if self._ending:
            return [self._kill_at] if self._kill_at is not None and self.pids else []
        return [row.restarts.not_before for row in self._rows if line is not None and row.pid is None]

    def start_missing(self, line: socket.socket | None) -> None:
        """Start those that are due, and hand them to the agent at the other end of `line`; None: no agent."""
        if line is None or self._ending:
            return
        for row in self._rows:
            if row.pid is None and monotonic() >= row.restarts.not_before:
                self._start(row, line)

    def _start(self, row: Row, line: socket.socket) -> None:
        try:
            pid, pipes = start(self._command, privileges.identity(self._user))
        except (OSError, privileges.NoSuchUser) as error:
            self._log.error("fork-failed", child=row.name, error=str(error), pause=row.died())
            return
        row.born(pid)
        control.send(line, "helper", str(pid), pipes)  # if that fails the program reads an end, and ends
        for pipe in pipes:
            os.close(pipe)

    def bury(self, pid: int) -> tuple[str, float] | None:
        """A process was reaped: return its row's name and the pause until the next; None if not ours."""
        for row in self._rows:
            if row.pid == pid:
                return row.name, row.died()
        return None

    def kill(self, written: str) -> None:
        """Kill one that the agent does not trust any more, by its pid; nobody else can be meant."""
        for pid in self.pids:
            if str(pid) == written:
                _signal(pid, signal.SIGKILL)

    def end(self, mercy: float) -> None:
        """Start no more, and give those that run `mercy` seconds to end."""
        self._ending = True
        self._kill_at = monotonic() + mercy
        self.signal(signal.SIGTERM)

    def kill_overdue(self) -> None:
        """Kill who should have ended by now."""
        if self._kill_at is not None and monotonic() >= self._kill_at:
            self._kill_at = None
            self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to all, and to what they have started."""
        for pid in self.pids:
            _signal(pid, number)


def _signal(pid: int, number: int) -> None:
    # One that runs as somebody else may be out of reach: it ends when it reads the end of its questions.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def start(command: Sequence[str], who: Identity | None) -> tuple[int, Pipes]:
    """Start a program as `who`, None for ourselves, in a process group of its own.

    Returns its pid and our ends of the pipes: its questions (which does not block), its answers, its remarks.
    Raises OSError when the system gives no process or no pipe; a program that cannot be run remarks why, and
    ends.
    """
    questions, answers, remarks = _three_pipes()
    theirs, ours = (questions[0], answers[1], remarks[1]), (questions[1], answers[0], remarks[0])
    os.set_blocking(ours[0], False)
    try:
        with signals.held():
            pid = os.fork()
            if pid == 0:
                _be_program(command, who, theirs)
    except OSError:
        for pipe in ours:
            os.close(pipe)
        raise
    finally:
        for pipe in theirs:
            os.close(pipe)
    with contextlib.suppress(OSError):  # it has done so itself, and maybe more
        os.setpgid(pid, pid)
    return pid, ours


def _three_pipes() -> list[tuple[int, int]]:
    made: list[tuple[int, int]] = []
    try:
        for _ in range(3):
            made.append(os.pipe())
    except OSError:
        for ends in made:
            os.close(ends[0])
            os.close(ends[1])
        raise
    return made


def _be_program(command: Sequence[str], who: Identity | None, pipes: Pipes) -> NoReturn:
    try:
        os.setpgid(0, 0)
        for number, pipe in enumerate(pipes):
            os.dup2(pipe, number)
        os.closerange(len(pipes), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        if who is not None:
            os.initgroups(who.name, who.gid)
            os.setresgid(who.gid, who.gid, who.gid)
            os.setresuid(who.uid, who.uid, who.uid)
        os.chdir("/")
        os.umask(UMASK)
        signals.reset()
        os.execve(command[0], list(command), ENVIRONMENT)
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_RUN)
