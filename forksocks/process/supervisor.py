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

import setproctitle

from forksocks import __version__
from forksocks.access.policy import PolicyError
from forksocks.access.users import UsersError
from forksocks.config.model import Config
from forksocks.host import container, control, kernel, signals
from forksocks.host.log import Log
from forksocks.host.sandbox import privileges
from forksocks.host.sandbox.confinement import Sandbox
from forksocks.host.sandbox.profile import profiles
from forksocks.host.sandbox.report import Report, summary
from forksocks.process import birth, generation
from forksocks.process.children import Child, describe_end
from forksocks.process.generation import Generation
from forksocks.process.ledger import Ledger
from forksocks.process.limits import peer_ports, within_limits
from forksocks.process.listeners import BindError, open_listeners
from forksocks.process.users_watch import EVERY
from forksocks.session.service import TICK

Announce = Callable[[tuple[str, ...]], None]

# What a child may say instead of serving, and the exit status that it means at the start.
FAILURES = {"failed": 2, "refused": 1}


class StartError(Exception):
    """The server could not start; `status` is the exit status, and nothing is left running."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


def run(config: Config, announce: Announce) -> int:
    """Serve until a signal ends it; return the exit status.

    announce: called once, with the addresses really bound, when every worker serves. Raises StartError.
    """
    return Supervisor(config).run(announce)


class Supervisor:
    """The processes of one server. Main thread only."""

    def __init__(self, config: Config) -> None:
        self._config, self._shortened = within_limits(config)
        try:
            self._identity = privileges.identity(config.server.user)
            self._log = Log.open(config.log)
        except privileges.NoSuchUser as error:
            raise StartError(str(error), status=2) from error
        except OSError as error:
            raise StartError(f"cannot write the log {error.filename}: {error.strerror}") from error
        server = self._config.server
        roles = profiles(server.workers, server.threads, peer_ports(config))
        self._sandbox = Sandbox(server.sandbox, self._identity, roles)
        self._actions: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGQUIT: self._stop_now,
            signal.SIGHUP: self._reopen_logs,
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGCHLD: lambda: None,  # the loop reaps in any case
        }
        self._poller = select.poll()
        self._generations: list[Generation] = []
        self._stopping = False
        self._announced = False

    def run(self, announce: Announce) -> int:
        """Serve until a signal ends it; return the exit status. Raises StartError."""
        kernel.refuse_core_dumps()
        try:
            listeners = open_listeners(self._config.listen, TICK)
            self._generations.append(Generation(1, self._config, listeners))
        except BindError as error:
            raise StartError(str(error)) from error
        except PolicyError as error:  # a file of entries that has changed since it was checked
            raise StartError(str(error), status=2) from error
        self._signals = signals.SignalQueue(
            self._actions, ignored=(signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
        )
        self._poller.register(self._signals.fileno(), select.POLLIN)
        in_container = container.container_sign(os.environ) is not None
        self._ledger = Ledger(self._generations)
        self._house = birth.House(
            self._signals, self._log, self._sandbox, in_container, self._generations, self._ledger.books
        )
        setproctitle.setproctitle(f"forksocks: supervisor [{' '.join(self._current.addresses)}]")
        self._sandbox.trim_supervisor()
        gc.freeze()  # what is here now is shared with every child: leave its pages alone
        try:
            self._supervise(announce)
        finally:
            self._clean_up()
        return 0

    @property
    def _current(self) -> Generation:
        """The generation that serves."""
        return self._generations[-1]

    @property
    def _children(self) -> list[Child]:
        return [child for each in self._generations for child in each.children]

    def _supervise(self, announce: Announce) -> None:
        while not (self._stopping and all(each.is_gone for each in self._generations)):
            self._fill_vacancies()
            for descriptor, _ in self._poller.poll(self._patience() * 1000):
                if descriptor == self._signals.fileno():
                    for number in self._signals.take():
                        self._actions[number]()
                else:
                    self._hear(descriptor)
            self._reap_the_dead()
            self._hand_on_users()
            self._condemn_the_silent()
            for each in self._generations:
                each.press_the_slow()
            self._ledger.publish(self._state)
            if not self._announced and self._current.is_ready:
                self._announced = True
                self._log.notice(
                    "started", version=__version__, listen=",".join(self._current.addresses),
                    workers=self._config.server.workers, threads=self._config.server.threads,
                    reduced=self._shortened,
                )  # fmt: skip
                self._report_sandbox()
                announce(self._current.addresses)

    def _report_sandbox(self) -> None:
        """Say in one line which layers hold, and which are missing and why."""
        mode = self._config.server.sandbox
        held, missing = summary([child.sandbox for child in self._current.children])
        self._log.notice("sandbox", mode=mode.value, holds=held or None, missing=missing or None)

    def _patience(self) -> float:
        """Seconds until something has to be looked at although nobody has called."""
        due = [at for each in self._generations for at in each.due()]
        return min([EVERY, *(max(0.0, at - monotonic()) for at in due)])

    @property
    def _state(self) -> str:
        if self._stopping:
            return "stopping"
        return "running" if self._announced else "starting"

    # Birth and death

    def _fill_vacancies(self) -> None:
        """Fork whoever is missing and due."""
        for each in self._generations:
            for child in each.vacancies():
                self._fork(child, each)

    def _fork(self, child: Child, each: Generation) -> None:
        users = self._open_users(each) if child is each.agent else None
        try:
            pid, line = birth.fork(child, each, self._house, users)
        except OSError as error:  # no memory or no process slot
            pause = child.died()
            self._log.error("fork-failed", child=child.name, error=error.strerror, pause=pause)
            return
        finally:
            if users is not None:
                os.close(users)
        child.born(pid, line)
        self._poller.register(line, select.POLLIN)

    def _hear(self, descriptor: int) -> None:
        """Take a child's word; its silence for good is seen when it is reaped."""
        child = next((c for c in self._children if c.control and c.control.fileno() == descriptor), None)
        heard = control.receive(child.control) if child and child.control else None
        if child is None or heard is None:
            self._poller.unregister(descriptor)
            return
        word, text, descriptors = heard
        for each in descriptors:  # nobody sends us any, unless somebody took it over
            os.close(each)
        if word == "ready":
            child.ready = True
        elif word == "sandbox":
            child.sandbox = Report.read(text)
        elif word == "log":
            self._give_log(child)
        elif word in FAILURES and not self._announced:
            raise StartError(text, status=FAILURES[word])

    def _give_log(self, child: Child) -> None:
        """Open the log for a child that cannot: the system's log daemon was restarted."""
        try:
            descriptor = self._log.another()
        except OSError:  # it is not back yet; the child will ask again
            return
        if child.control is not None:
            control.send(child.control, "log", descriptors=(descriptor,))
        os.close(descriptor)

    def _reap_the_dead(self) -> None:
        """Wait for whoever has ended, strangers too: as process 1 of a container all orphans are ours."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if found := generation.find(self._generations, pid):
                    self._bury(*found, status)

    def _bury(self, each: Generation, child: Child, status: int) -> None:
        how = describe_end(status)
        if child.control is not None:
            with contextlib.suppress(KeyError):
                self._poller.unregister(child.control)
        if not (self._announced or self._stopping):
            raise StartError(f"{child.name} ended while starting ({how})")
        lost = self._ledger.close(child, how, as_asked=each.ending and not status)
        pid, pause = child.pid, child.died()
        if not each.ending or child.hung:
            self._log.error("child-died", child=child.name, pid=pid, how=how, pause=pause, sessions=len(lost))
        for line in child.last_words.hear():
            self._log.error("last-words", child=child.name, pid=pid, text=line)
        for tunnel in lost:
            self._log.info("end", **tunnel)

    def _condemn_the_silent(self) -> None:
        """Make whoever hangs say where, if it still can, and die of it; it is replaced like any other."""
        for each in self._generations:
            for child in each.newly_hung():
                self._log.error(
                    "child-hung", child=child.name, pid=child.pid, silent=child.pulse.silence,
                    state=kernel.process_state(child.pid or 0),
                )  # fmt: skip

    # Life

    def _open_users(self, each: Generation) -> int | None:
        """Open the users file for a new agent; without one that can be trusted nobody gets in."""
        try:
            return each.users.open()
        except UsersError as error:
            if not self._announced:
                raise StartError(str(error), status=2) from error
            self._log.error("users-refused", error=str(error))
            return None

    def _hand_on_users(self) -> None:
        """Give the agent the users file whenever it has changed."""
        agent = self._current.agent
        if agent.control is None:
            return
        try:
            descriptor = self._current.users.open_changed()
        except UsersError as error:
            self._log.error("users-refused", error=str(error), kept="the users from before")
            return
        if descriptor is not None:
            control.send(agent.control, "users", descriptors=(descriptor,))
            os.close(descriptor)

    def _reopen_logs(self) -> None:
        """Open the log by its name again, for rotation, and hand it on."""
        try:
            descriptor = self._log.reopen()
        except OSError as error:
            self._log.error("log-not-reopened", file=error.filename, error=error.strerror)
            return
        if not self._config.log.to.startswith("file:"):
            return
        for child in self._children:
            if child.control is not None:
                control.send(child.control, "log", descriptors=(descriptor,))
        self._log.notice("log-reopened")

    # End

    def _stop(self) -> None:
        """Drain; asked for the second time, end now."""
        if self._stopping:
            self._stop_now()
            return
        self._begin_to_stop(signal.SIGTERM, self._config.server.drain)

    def _stop_now(self) -> None:
        self._begin_to_stop(signal.SIGQUIT, 0.0)

    def _begin_to_stop(self, number: int, seconds: float) -> None:
        """Stop listening, and tell every generation to end."""
        self._log.notice("stopping", drain=seconds)
        self._stopping = True
        for each in self._generations:
            for listener in each.listeners:
                listener.close()
            each.end(number, seconds)

    def _clean_up(self) -> None:
        """Leave no process, socket or name behind, however we end."""
        for child in self._children:
            child.signal(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while any(child.pid for child in self._children):
                pid, _ = os.waitpid(-1, 0)
                if found := generation.find(self._generations, pid):
                    found[1].died()
        for each in self._generations:
            each.close()
            for listener in each.listeners:
                listener.close()
        self._signals.close()
        if self._announced:
            self._log.notice("stopped")
        self._log.close(1.0)
