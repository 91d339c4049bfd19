"""The parent: binds, forks the lookup agent and the workers, replaces whoever dies, and ends them all.

It has no threads, since it forks all its life, and reads nothing that comes from the network. What it holds
at a fork every child can read, so it holds no secret: it opens the users file and hands the descriptor on
unread. Signals only wake its one loop, which then looks at what is so and does what is missing.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
from collections.abc import Callable
from time import monotonic

from forksocks.access.users import UsersError
from forksocks.host import container, control, kernel, signals
from forksocks.host.sandbox import privileges
from forksocks.host.sandbox.report import Report
from forksocks.process import birth, generation, orders
from forksocks.process.children import Child, describe_end, was_caught
from forksocks.process.generation import MERCY, Generation, StartError
from forksocks.process.handover import Handover
from forksocks.process.ledger import Ledger
from forksocks.process.succession import Start, Succession
from forksocks.process.users_watch import EVERY

__all__ = ["Start", "StartError", "run"]

# What a child may say instead of serving, and the exit status that it means at the start; `unread` is a users
# file, without which an agent goes on.
FAILURES = {"failed": 2, "refused": 1, "unread": 2}


# What the log says when the filter of system calls has killed a child.
ALARM = (
    "killed for a system call that forksocks never makes: somebody may have taken it over; the kernel's log "
    "has its number (type=1326)"
)


def run(start: Start) -> int:
    """Serve until a signal ends it; return the exit status. Raises StartError."""
    kernel.refuse_core_dumps()
    try:
        identity = privileges.identity(start.config.server.user)
    except privileges.NoSuchUser as error:
        raise StartError(str(error), status=2) from error
    return Supervisor(start, identity).run()


class Supervisor:
    """The processes of one server. Main thread only."""

    def __init__(self, start: Start, identity: privileges.Identity | None) -> None:
        self._actions: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._interrupt,
            signal.SIGQUIT: self._stop_now,
            signal.SIGHUP: self._reload_or_stop,
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGUSR2: self._upgrade,
            signal.SIGWINCH: self._stand_by,
            signal.SIGTTIN: lambda: self._succession.change_workers(Generation.grow),
            signal.SIGTTOU: lambda: self._succession.change_workers(Generation.shrink),
            signal.SIGCHLD: lambda: None,  # the loop reaps in any case
        }
        self._terminal = orders.Terminal(start.program.ignores_hangup)
        ignored = orders.OF_TERMINALS if self._terminal.is_there else ()
        self._start = start
        self._stopping = False
        # Before anything is opened: what arrives from here on waits for the loop, and the end is a clean one.
        self._signals = signals.SignalQueue(self._actions.keys() - set(ignored), ignored)
        try:
            self._succession = Succession(start, identity)
        except BaseException:
            self._signals.close()
            raise
        self._generations = self._succession.everyone
        self._ledger = Ledger(self._generations, self._succession.outcomes)
        self._poller = select.poll()
        self._handover = Handover(start, self._succession, self._poller, self._ledger)
        self._poller.register(self._signals.fileno(), select.POLLIN)
        in_container = container.container_sign(os.environ) is not None
        self._as_parent = birth.Parent(
            self._signals, in_container, self._generations, self._ledger.books, self._handover
        )

    def run(self) -> int:
        """Serve until a signal ends it; return the exit status. Raises StartError."""
        gc.freeze()  # what is here now is shared with every child: leave its pages alone
        try:
            self._supervise()
        except StartError:
            self._end_all()
            raise
        except BaseException as error:
            self._succession.log.crash(error)  # a bug of ours: the children see our end, and drain
            raise
        finally:
            self._clean_up()
        return 0

    def _supervise(self) -> None:
        while not self._is_over():
            self._fill_vacancies()
            for descriptor, _ in self._poller.poll(self._patience() * 1000):
                if descriptor == self._signals.fileno():
                    for number in self._signals.take():
                        self._actions[number]()
                elif not self._handover.hears(descriptor):
                    self._hear(descriptor)
            self._reap_the_dead()
            self._condemn_the_silent()
            self._succession.settle()
            self._handover.look()
            self._terminal.look()
            self._succession.serving.hand_on_users()
            self._ledger.publish(self._state, self._succession.serving)
            self._start.notifier.look(self._status)

    def _is_over(self) -> bool:
        ends = self._stopping or self._handover.is_done
        return ends and all(each.is_gone for each in self._generations)

    def _patience(self) -> float:
        """Seconds until something has to be looked at although nobody has called."""
        due = [at for each in self._generations for at in each.due()]
        due += [*self._handover.due(), *self._start.notifier.due()]
        return min([EVERY, *(max(0.0, at - monotonic()) for at in due)])

    @property
    def _state(self) -> str:
        if self._stopping:
            return "stopping"
        return "running" if self._succession.current else "starting"

    @property
    def _status(self) -> str:
        serving = self._succession.serving
        workers = sum(worker.ready for worker in serving.workers)
        return f"{self._succession.connections} connections, {workers} workers, generation {serving.number}"

    # Birth and death

    def _fill_vacancies(self) -> None:
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
            pid, line = birth.fork(child, each, self._as_parent, users)
        except OSError as error:  # no memory or no process slot
            pause = child.died()
            self._succession.log.error("fork-failed", child=child.name, error=error.strerror, pause=pause)
            return
        finally:
            if users is not None:
                os.close(users)
        child.born(pid, line)
        self._poller.register(line, select.POLLIN)

    def _hear(self, descriptor: int) -> bool:
        """Take a child's word; False when there will be no more, and its end is seen when it is reaped."""
        found = generation.find_line(self._generations, descriptor)
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
        elif word in FAILURES and each is self._succession.coming:
            self._succession.give_up(each, text, FAILURES[word])
        elif word == "unread":
            self._succession.log.error("users-refused", error=text)  # meanwhile nobody gets in
        return True

    def _reap_the_dead(self) -> None:
        """Wait for whoever has ended, strangers too: as process 1 of a container all orphans are ours."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if found := generation.find(self._generations, pid):
                    self._bury(*found, status)
                else:
                    self._bury_helper(pid, status)
                    self._handover.bury(pid, status)

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

    def _hear_out(self, child: Child) -> None:
        """Take everything that a dead child has said, and forget its line."""
        if child.control is None:
            return
        try:
            with contextlib.suppress(BlockingIOError):
                while self._hear(child.control.fileno()):
                    pass
        finally:
            with contextlib.suppress(KeyError):
                self._poller.unregister(child.control)

    def _condemn_the_silent(self) -> None:
        """Make whoever hangs say where, if it still can, and die of it; it is replaced like any other."""
        for each in self._generations:
            for child in each.newly_hung():
                self._succession.log.error(
                    "child-hung", child=child.name, pid=child.pid, silent=child.pulse.silence,
                    state=kernel.process_state(child.pid or 0),
                )  # fmt: skip

    # What signals ask for

    def _reload_or_stop(self) -> None:
        """Go over to the configuration as it is now; a terminal that hangs up wants us gone."""
        if self._stopping:
            return
        if self._terminal.has_hung_up():
            self._stop()
        elif not self._handover.takes_reload():
            self._succession.reload()

    def _upgrade(self) -> None:
        """Start the program anew beside us."""
        if not self._stopping:
            self._handover.begin()

    def _stand_by(self) -> None:
        """Stay without workers, as the step by hand between two programs."""
        if not self._stopping:
            self._succession.log.notice("standing-by", connections=self._succession.connections)
            self._succession.stand_by(None)

    def _reopen_logs(self) -> None:
        """Open the log files by their names again, for rotation."""
        reopened = [each.reopen_log() for each in self._generations]
        if any(reopened):
            self._succession.log.notice("log-reopened")

    # End

    def _interrupt(self) -> None:
        """Ctrl-C: stop, and let who pressed it know what it takes."""
        first = not self._stopping
        self._stop()
        if first and (waiting := self._succession.connections):
            them, those = ("1 connection", "it") if waiting == 1 else (f"{waiting} connections", "them")
            orders.tell_terminal(f"waiting for {them} to finish; Ctrl-C again ends {those} now")

    def _stop(self) -> None:
        """Drain; asked for the second time, end now."""
        if self._stopping:
            self._stop_now()
            return
        self._begin_to_stop(signal.SIGTERM, self._succession.serving.config.server.drain)

    def _stop_now(self) -> None:
        self._begin_to_stop(signal.SIGQUIT, 0.0)

    def _begin_to_stop(self, number: int, seconds: float) -> None:
        self._succession.log.notice("stopping", drain=seconds, connections=self._succession.connections)
        self._start.notifier.stopping(seconds + 2 * MERCY)
        self._stopping = True
        self._handover.stop()
        self._succession.end(number, seconds)

    def _end_all(self) -> None:
        """Kill every child, and see it go."""
        rows = [child for each in self._generations for child in each.children]
        for child in rows:
            child.signal(signal.SIGKILL)
        for each in self._generations:
            each.helpers.signal(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while any(child.pid for child in rows) or any(each.helpers.pids for each in self._generations):
                pid, _ = os.waitpid(-1, 0)
                if found := generation.find(self._generations, pid):
                    found[1].died()
                for each in self._generations:
                    each.helpers.bury(pid)

    def _clean_up(self) -> None:
        """Leave no socket or name behind, however we end."""
        self._ledger.estate.update(final=True)
        self._signals.close()
        if self._stopping or self._succession.current is not None:
            self._succession.log.notice("stopped")
        self._succession.close()
        self._handover.close()
