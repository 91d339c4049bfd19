"""Handing over to a new program, which may be another version or another Python (SIGUSR2).

    old                                     new
    forks; the child keeps the listening
    sockets and one end of a line, and execs
                                            reads its configuration, takes the sockets, forks its workers
                                            "ready" once all of them serve, or "failed" and why
    gives the pid file away, tells systemd,
    "yours"
    its workers drain, and it ends          takes the pid file; from here on it is the server

Until "ready" nothing of the old one has changed, and whatever the new one does, exit, hang or fail to bind,
ends the new one alone. Should it break down while the old one still drains, the old one comes back;
not so if another one has followed it meanwhile ("followed"), which serves in its place.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import NoReturn

from forksocks.host import control, signals
from forksocks.host.deadline import Deadline
from forksocks.process.generation import MERCY
from forksocks.process.inherit import FDS, FIRST, LINE, NAMES, OWN, PID
from forksocks.process.listeners import Endpoint

WATCHDOG_PID = "WATCHDOG_PID"


@dataclass(frozen=True, slots=True)
class Program:
    """How we were started: to be started again. directory: where relative paths in `words` begin.

    ignores_hangup: SIGHUP was ignored then, as nohup(1) does it.
    """

    words: Sequence[str]
    directory: Path
    environment: Mapping[str, str]
    ignores_hangup: bool = False


class Upgrade:
    """One new program, from its fork on. Raises OSError when the system gives no process."""

    def __init__(self, program: Program, endpoints: Sequence[Endpoint], limit: float) -> None:
        self.line, theirs = control.pair()
        self.has_taken_over = False
        self.is_followed = False  # by a program that serves in its place
        self.why = ""  # it says that it failed
        self._begun = monotonic()
        self._limit: Deadline | None = Deadline(limit)
        self._kill_at: float | None = None
        try:
            with signals.held():
                self.pid = os.fork()
                if self.pid == 0:
                    _become(program, endpoints, theirs)
        except OSError:
            self.line.close()
            raise
        finally:
            theirs.close()

    @property
    def age(self) -> float:
        """Seconds since its fork."""
        return monotonic() - self._begun

    def hear(self) -> str | None:
        """Its next word; None when it has closed the line."""
        heard = control.receive(self.line)
        if heard is None:
            return None
        word, text, descriptors = heard
        for descriptor in descriptors:
            os.close(descriptor)
        if word == "failed":
            self.why = text
        elif word in ("followed", "returned"):
            self.is_followed = word == "followed"
        return word

    def hand_over(self, estate: tuple[int, ...]) -> None:
        """Tell it that it is the server now. estate: a descriptor of what we have counted, or nothing."""
        self._limit = None
        self.has_taken_over = True
        control.send(self.line, "yours", "", estate)

    def end_if_late(self) -> bool:
        """End it if it is late; True the first time that this shows."""
        late = self._limit is not None and self._limit.passed()
        if late:
            self.abandon()
        elif self._kill_at is not None and monotonic() >= self._kill_at:
            self._kill_at = None
            os.kill(self.pid, signal.SIGKILL)
        return late

    def abandon(self) -> None:
        """Tell it to end, soon to be followed by SIGKILL; it has not taken over."""
        self._limit = None
        os.kill(self.pid, signal.SIGTERM)
        self._kill_at = monotonic() + MERCY

    def due(self) -> list[float]:
        """The times, on the monotonic clock, at which `end_if_late` has something to do."""
        found = [] if self._limit is None else [self._limit.at]
        return found if self._kill_at is None else [*found, self._kill_at]


def _become(program: Program, endpoints: Sequence[Endpoint], line: socket.socket) -> NoReturn:
    """In the child: exec the new program with these descriptors and no others, and with signals as new."""
    complaint = line.dup()
    try:
        signals.reset()
        if program.ignores_hangup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            os.chdir(program.directory)
        except OSError:  # it was removed; only relative paths need it, and whoever has one will say so
            os.chdir("/")
        names = [*(endpoint.name or OWN for endpoint in endpoints), LINE]
        wanted = [*(endpoint.socket.fileno() for endpoint in endpoints), line.fileno()]
        complaint = _pass_on(wanted)
        own = {FDS: str(len(wanted)), PID: str(os.getpid()), NAMES: ":".join(names)}
        if WATCHDOG_PID in program.environment:
            own[WATCHDOG_PID] = str(os.getpid())
        os.execve(program.words[0], list(program.words), {**program.environment, **own})
    except OSError as error:
        control.send(complaint, "failed", f"cannot run {program.words[0]}: {error.strerror}")
    finally:
        os._exit(1)


def _pass_on(descriptors: Sequence[int]) -> socket.socket:
    """Number these from FIRST on and close all others; return the last one for a complaint until exec."""
    end = FIRST + len(descriptors)
    out_of_the_way = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, end) for descriptor in descriptors]
    for number, descriptor in enumerate(out_of_the_way, FIRST):
        os.dup2(descriptor, number, inheritable=True)
    complaint = fcntl.fcntl(out_of_the_way[-1], fcntl.F_DUPFD_CLOEXEC, end)
    os.closerange(end, complaint)
    os.closerange(complaint + 1, os.sysconf("SC_OPEN_MAX"))
    return socket.socket(fileno=complaint)
