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
import socket
from collections.abc import Callable
from time import monotonic
from typing import NoReturn

import setproctitle

from forksocks import __version__
from forksocks.access.users import UsersError
from forksocks.config.model import AuthMethod, Config
from forksocks.host import container, control, kernel, privileges, signals
from forksocks.host.deadline import Deadline
from forksocks.host.generation import Generation
from forksocks.host.log import Log
from forksocks.process import lookup, worker
from forksocks.process.children import Child, describe_end
from forksocks.process.limits import within_limits
from forksocks.process.listeners import BindError, open_listeners
from forksocks.process.users_watch import EVERY, UsersWatch
from forksocks.session import TICK

# Seconds beyond its own deadline after which a child that was told to end is killed.
MERCY = 5.0

Announce = Callable[[tuple[str, ...]], None]


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
        self._in_container = container.container_sign(os.environ) is not None
        self._generation = Generation()
        self._actions: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGQUIT: self._stop_now,
            signal.SIGHUP: self._reopen_logs,
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGCHLD: lambda: None,  # the loop reaps in any case
        }
        self._poller = select.poll()
        self._stopping: Deadline | None = None
        self._announced = False
        self._users = UsersWatch(config.auth.users)

    def run(self, announce: Announce) -> int:
        """Serve until a signal ends it; return the exit status. Raises StartError."""
        kernel.refuse_core_dumps()
        try:
            self._listeners = open_listeners(self._config.listen, TICK)
        except BindError as error:
            raise StartError(str(error)) from error
        self._addresses = tuple(listener.address for listener in self._listeners)
        self._signals = signals.SignalQueue(
            self._actions, ignored=(signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU)
        )
        self._poller.register(self._signals.fileno(), select.POLLIN)
        self._children = self._make_children()
        setproctitle.setproctitle(f"forksocks: supervisor [{' '.join(self._addresses)}]")
        gc.freeze()  # what is here now is shared with every child: leave its pages alone
        try:
            self._supervise(announce)
        finally:
            self._clean_up()
        return 0

    def _supervise(self, announce: Announce) -> None:
        while not (self._stopping and not any(child.pid for child in self._children)):
            self._fill_vacancies()
            for descriptor, _ in self._poller.poll(self._patience() * 1000):
                if descriptor == self._signals.fileno():
                    for number in self._signals.take():
                        self._actions[number]()
                else:
                    self._hear(descriptor)
            self._reap_the_dead()
            self._hand_on_users()
            self._press_the_slow()
            if not self._announced and all(child.ready for child in self._children):
                self._announced = True
                self._log.notice(
                    "started", version=__version__, listen=",".join(self._addresses),
                    workers=self._config.server.workers, threads=self._config.server.threads,
                    reduced=self._shortened,
                )  # fmt: skip
                announce(self._addresses)

    def _make_children(self) -> list[Child]:
        passwords = any(AuthMethod.PASSWORD in listen.auth for listen in self._config.listen)
        workers = [Child("worker", number, passwords) for number in range(1, self._config.server.workers + 1)]
        return [Child("lookup", 0, False), *workers]

    # Birth

    def _fill_vacancies(self) -> None:
        """Fork whoever is missing and due."""
        if self._stopping:
            return
        for child in self._children:
            if child.pid is None and monotonic() >= child.not_before:
                self._fork(child)

    def _fork(self, child: Child) -> None:
        users = self._open_users() if child.role == "lookup" else None
        ours, theirs = control.pair()
        try:
            with signals.held():
                pid = os.fork()
                if pid == 0:
                    ours.close()  # open here it would hide the supervisor's death from this child
                    self._be_child(child, theirs, users)
        except OSError as error:  # no memory or no process slot
            ours.close()
            pause = child.died()
            self._log.error("fork-failed", child=child.name, error=error.strerror, pause=pause)
            return
        finally:
            theirs.close()
            if users is not None:
                os.close(users)
        child.born(pid, ours)
        self._poller.register(ours, select.POLLIN)

    def _be_child(self, child: Child, line: socket.socket, users: int | None) -> NoReturn:
        """Be the new process until it ends; signals are held back until it has its own handlers."""
        status = 1
        try:
            self._forget_what_is_not(child)
            if self._identity:
                privileges.become(self._identity)
            self._log.name = child.name
            self._log.start_writer(self._config.server.workers)
            body = self._make_worker(child, line) if child.role == "worker" else self._make_agent(line, users)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            body.run()
            status = 0
        except BaseException as error:  # noqa: BLE001 - nothing may unwind into the parent's stack
            self._log.crash(error, child=child.name)
            self._log.close(1.0)
        finally:
            os._exit(status)

    def _make_worker(self, child: Child, line: socket.socket) -> worker.Worker:
        places = [
            worker.Place(listener.socket, listener.bind, listener.config) for listener in self._listeners
        ]
        around = worker.Surroundings(
            number=child.number, places=places, control=line, generation=self._generation,
            names=[asking for asking, _ in child.names], passwords=[asking for asking, _ in child.passwords],
            in_container=self._in_container,
        )  # fmt: skip
        return worker.Worker(self._config, around, self._log)

    def _make_agent(self, line: socket.socket, users: int | None) -> lookup.Agent:
        around = lookup.Surroundings(
            control=line, generation=self._generation, users=users,
            names=[answering for child in self._children for _, answering in child.names],
            passwords=[answering for child in self._children for _, answering in child.passwords],
        )  # fmt: skip
        return lookup.Agent(self._config, around, self._log)

    def _forget_what_is_not(self, child: Child) -> None:
        """Close in a new child what is another's: an end left open here would hide its owner's death."""
        self._signals.close()
        for other in self._children:
            if other.control is not None:
                other.control.close()
            for asking, answering in (*other.names, *other.passwords):
                if child.role == "worker":
                    answering.close()
                if child is not other:
                    asking.close()
        if child.role == "lookup":
            for listener in self._listeners:
                listener.socket.close()

    # Life

    def _hear(self, descriptor: int) -> None:
        """Take a child's word; its silence for good is seen when it is reaped."""
        child = next((c for c in self._children if c.control and c.control.fileno() == descriptor), None)
        heard = control.receive(child.control) if child and child.control else None
        if child is None or heard is None:
            self._poller.unregister(descriptor)
            return
        word, text, _ = heard
        if word == "ready":
            child.ready = True
        elif word == "failed" and not self._announced:
            raise StartError(text, status=2)

    def _reap_the_dead(self) -> None:
        """Wait for whoever has ended, strangers too: as process 1 of a container all orphans are ours."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                for child in self._children:
                    if child.pid == pid:
                        self._bury(child, describe_end(status))

    def _bury(self, child: Child, how: str) -> None:
        if child.control is not None:
            with contextlib.suppress(KeyError):
                self._poller.unregister(child.control)
        if not (self._announced or self._stopping):
            raise StartError(f"{child.name} ended while starting ({how})")
        pid, pause = child.pid, child.died()
        if not self._stopping:
            self._log.error("child-died", child=child.name, pid=pid, how=how, pause=pause)

    def _open_users(self) -> int | None:
        """Open the users file for a new agent; without one that can be trusted nobody gets in."""
        try:
            return self._users.open()
        except UsersError as error:
            if not self._announced:
                raise StartError(str(error), status=2) from error
            self._log.error("users-refused", error=str(error))
            return None

    def _hand_on_users(self) -> None:
        """Give the agent the users file whenever it has changed."""
        agent = self._children[0]
        if agent.control is None:
            return
        try:
            descriptor = self._users.open_changed()
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
        """Stop listening, tell the workers, and know when to lose patience with them."""
        self._log.notice("stopping", drain=seconds)
        self._stopping = Deadline(seconds)
        for listener in self._listeners:
            listener.close()
        for child in self._children:
            if child.role == "worker":
                child.signal(number)
                child.kill_at = self._stopping.at + MERCY

    def _press_the_slow(self) -> None:
        """Let the agent go once nobody asks any more, and kill who should have ended long ago."""
        if not self._stopping:
            return
        agent = self._children[0]
        if agent.kill_at is None and not any(child.pid for child in self._children[1:]):
            agent.kill_at = monotonic() + MERCY
            agent.signal(signal.SIGTERM)
        for child in self._children:
            if child.kill_at is not None and monotonic() >= child.kill_at:
                child.kill_at = None
                child.signal(signal.SIGKILL)

    def _patience(self) -> float:
        """Seconds until something has to be looked at although nobody has called."""
        due = [child.not_before for child in self._children if child.pid is None and not self._stopping]
        due += [child.kill_at for child in self._children if child.kill_at is not None]
        return min([EVERY, *(max(0.0, at - monotonic()) for at in due)])

    def _clean_up(self) -> None:
        """Leave no process, socket or name behind, however we end."""
        for child in self._children:
            child.signal(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while any(child.pid for child in self._children):
                pid, _ = os.waitpid(-1, 0)
                for child in self._children:
                    if child.pid == pid:
                        child.died()
        for child in self._children:
            child.close_channels()
        for listener in self._listeners:
            listener.close()
        self._signals.close()
        if self._announced:
            self._log.notice("stopped")
        self._log.close(1.0)
