"""The table of processes: a row for each that should be running, over all generations.

It forks whoever is missing, takes what they say, and buries whoever has ended; what follows from that for the
generations is `succession`'s.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator

from forksocks.access.users import UsersError
from forksocks.host import control, kernel, shortage
from forksocks.host.sandbox.report import Report
from forksocks.process import birth
from forksocks.process.children import Child, describe_end, was_caught
from forksocks.process.generation import Generation
from forksocks.process.ledger import Ledger
from forksocks.process.succession import Succession

# What a child may say instead of serving, and the exit status that it means at the start; `unread` is a users
# file, without which an agent goes on.
FAILURES = {"failed": 2, "refused": 1, "short": 1, "unread": 2}
DIGITS = 10  # of a number of lines, from a child that tells the truth
# What the log says when the filter of system calls has killed a child.
ALARM = (
    "killed for a system call that forksocks never makes: somebody may have taken it over; the kernel's log "
    "has its number (type=1326)"
)

Row = tuple[Generation, Child]


class Table:
    """The rows of one server's generations. Main thread only."""

    def __init__(
        self, succession: Succession, parent: birth.Parent, ledger: Ledger, poller: select.poll
    ) -> None:
        self._succession = succession
        self._parent = parent
        self._generations = parent.generations
        self._ledger = ledger
        self._poller = poller

    def fill_vacancies(self) -> None:
        """Fork whoever is missing and due."""
        for each in self._generations:
            while (child := each.vacancy()) is not None:
                self._fork(child, each)
            each.helpers.start_missing(each.agent.control)

    def _fork(self, child: Child, each: Generation) -> None:
        users = None
        try:
            users = each.open_users() if child is each.agent else None
        except UsersError as error:
            if each is self._succession.coming:
                self._succession.give_up(each, str(error), status=2)
                return
            self._succession.log.error("users-refused", error=str(error))  # meanwhile nobody gets in
        try:
            pid, line = birth.fork(child, each, self._parent, users)
        except OSError as error:  # no memory or no process slot
            pause, why = child.died(), shortage.of_processes(error)
            if each is self._succession.coming and self._succession.current is None:
                self._succession.give_up(each, f"{child.name} cannot be started: {why}")
            self._succession.log.error("fork-failed", child=child.name, error=why, pause=pause)
            return
        finally:
            if users is not None:
                os.close(users)
        child.born(pid, line)
        self._poller.register(line, select.POLLIN)

    def hear(self, descriptor: int) -> bool:
        """Take a child's word; False when there will be no more, and its end is seen when it is reaped."""
        found = self._find_line(descriptor)
        heard = control.receive(found[1].control) if found and found[1].control else None
        if found is None or heard is None:
            with contextlib.suppress(KeyError):  # it was seen before
                self._poller.unregister(descriptor)
            return False
        each, child = found
        word, text, descriptors = heard
        for unasked in descriptors:  # nobody sends us any, unless somebody took it over
            os.close(unasked)
        if word == "ready":
            child.ready = True
            if each is self._succession.current and child is not each.agent:
                child.serve()
        elif word == "closed":
            child.accepts = False
        elif word == "sandbox":
            child.sandbox = Report.read(text)
        elif word == "log":
            each.give_log(child)
        elif word == "faulty":
            each.helpers.kill(text)
        elif word == "lost" and text.isdecimal() and len(text) < DIGITS:
            self._succession.log.owe(int(text))
        elif word in FAILURES and each is self._succession.coming:
            self._succession.give_up(each, text, FAILURES[word])
        elif word == "unread":
            self._succession.log.error("users-refused", error=text)  # meanwhile nobody gets in
        return True

    def reap_the_dead(self) -> None:
        """Wait for whoever has ended, strangers too: as process 1 of a container all orphans are ours."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if found := self._find(pid):
                    self._bury(*found, status)
                else:
                    self._bury_helper(pid, status)
                    self._parent.handover.bury(pid, status)

    def _bury(self, each: Generation, child: Child, status: int) -> None:
        log = self._succession.log
        how = describe_end(status)
        try:
            self._hear_out(child)  # what it still said may explain its end
        finally:  # a StartError too must not find it among the living
            if child is each.agent:
                each.helpers.signal(signal.SIGKILL)  # its pipes died with it
            if was_caught(status):
                log.error("sandbox-alarm", child=child.name, pid=child.pid, what=ALARM)
            as_asked = (each.ending or child.leaves or child.renews) and not status
            lost = self._ledger.close(child, how, as_asked)
            pid, pause = child.pid, child.died()
        if each is self._succession.coming:
            self._succession.give_up(each, f"{child.name} ended while starting ({how})")
        elif not as_asked or child.hung:
            log.error("child-died", child=child.name, pid=pid, how=how, pause=pause, sessions=len(lost))
        for line in child.last_words.hear():
            log.error("last-words", child=child.name, pid=pid, text=line)
        for tunnel in lost:
            log.info("end", **tunnel)

    def _hear_out(self, child: Child) -> None:
        """Take everything that a dead child has said, and forget its line."""
        if child.control is None:
            return
        try:
            with contextlib.suppress(BlockingIOError):
                while self.hear(child.control.fileno()):
                    pass
        finally:
            with contextlib.suppress(KeyError):
                self._poller.unregister(child.control)

    def _bury_helper(self, pid: int, status: int) -> None:
        """See whether it was a program that checks passwords; it is started anew when its pause is over."""
        how = describe_end(status)
        for each in self._generations:
            if found := each.helpers.bury(pid):
                name, pause = found
                if each is self._succession.coming:
                    self._succession.give_up(each, f"{name} ended while starting ({how})")
                elif not each.ending:
                    self._succession.log.error("child-died", child=name, pid=pid, how=how, pause=pause)

    def condemn_the_silent(self) -> None:
        """Make whoever hangs say where, if it still can, and die of it; it is replaced like any other."""
        for each in self._generations:
            for child in each.newly_hung():
                self._succession.log.error(
                    "child-hung", child=child.name, pid=child.pid, silent=child.pulse.silence,
                    state=kernel.process_state(child.pid or 0),
                )  # fmt: skip

    def kill_all(self) -> None:
        """Kill every child, and see it go."""
        rows = [child for each in self._generations for child in each.children]
        for child in rows:
            child.signal(signal.SIGKILL)
        for each in self._generations:
            each.helpers.signal(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while any(child.pid for child in rows) or any(each.helpers.pids for each in self._generations):
                pid, _ = os.waitpid(-1, 0)
                if found := self._find(pid):
                    found[1].died()
                for each in self._generations:
                    each.helpers.bury(pid)

    def _rows(self) -> Iterator[Row]:
        return ((each, child) for each in self._generations for child in each.children)

    def _find(self, pid: int) -> Row | None:
        """The row of a process."""
        return next((row for row in self._rows() if row[1].pid == pid), None)

    def _find_line(self, descriptor: int) -> Row | None:
        """The row whose process is at the other end of a line."""
        lines = ((row, row[1].control) for row in self._rows())
        return next((row for row, line in lines if line and line.fileno() == descriptor), None)
