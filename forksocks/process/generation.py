"""A generation: one reading of the configuration, and the processes that serve by it.

The first one is made at the start, each reload makes the next. One that is told to end does so on its own
time: its workers finish what they carry, its agent stays for as long as they may ask.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from time import monotonic

from forksocks.access.limits import columns
from forksocks.access.rules import Rules
from forksocks.access.users import UsersError
from forksocks.config.model import AuthMethod, Config
from forksocks.host import control, kernel
from forksocks.host.deadline import Deadline
from forksocks.host.last_words import SPEAK_AND_DIE
from forksocks.host.log import Log, loudness
from forksocks.host.sandbox.confinement import Sandbox
from forksocks.host.sandbox.privileges import Identity
from forksocks.host.sandbox.profile import profiles
from forksocks.host.scoreboard import hits, reading
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.claims import ClaimPool
from forksocks.host.scoreboard.page import Page
from forksocks.host.version import Version
from forksocks.process.children import Child
from forksocks.process.helpers import HelperRows
from forksocks.process.limits import SPARE_WORKERS, peer_ports
from forksocks.process.listeners import Endpoint, Listener
from forksocks.process.users_watch import UsersWatch

# Seconds beyond its own deadline after which a child that was told to end is killed.
MERCY = 5.0
# Seconds in which a child that hangs may say where.
LAST_WORD = 1.0
# Seconds between two workers that are replaced for their memory: a limit that all exceed may stop nothing.
BETWEEN_RELIEFS = 60.0
ROOM_FOR_BANS = 4 << 20  # bytes: all bans by hand, and at least some 20,000 addresses and names


class Generation:
    """The rows of one generation: its agent, its workers, and what all of them share.

    Raises OSError when the machine has no room for it; then nothing of it is left.
    """

    def __init__(
        self,
        number: int,
        config: Config,
        rules: Rules,
        reduced: str | None,
        listeners: Sequence[Listener],
        log: Log,
        identity: Identity | None,
        admin_endpoints: Sequence[Endpoint],
        claims: ClaimPool,
    ) -> None:
        self.number = number
        self.admin_endpoints = admin_endpoints
        self.config = config
        self.reduced = reduced
        self.short: str | None = None  # limits that make its configured capacity impossible
        self.listeners = listeners
        self.addresses = tuple(listener.address for listener in listeners)
        self.log = log
        self.rules = rules
        self.claims = claims
        self.workers: list[Child] = []
        with ExitStack() as made:
            self._make_rows(made, identity)
            made.pop_all()
        self.helpers = HelperRows(config, log)
        self.ending = self.stands_by = False
        self._users = UsersWatch(config.auth.users, identity)
        self._give_up = Deadline(config.server.start_limit)
        self._begun = monotonic()
        self._relieves = Deadline(0.0)

    def _make_rows(self, made: ExitStack, identity: Identity | None) -> None:
        server = self.config.server
        by_interface = any(rule.interface for rule in self.config.rule)
        roles = profiles(server.workers, server.threads, peer_ports(self.config), by_interface)
        self.sandbox = Sandbox(server.sandbox, identity, roles)
        made.callback(self.sandbox.close)
        self.users_version = Version()
        made.callback(self.users_version.close)
        self.left = Board.make(rules=len(self.rules.names))  # what workers that left have counted
        made.callback(self.left.close)
        self.loud = Page.make(loudness.ROOM)  # how much is logged for a while
        made.callback(self.loud.close)
        self.bans = Page.make(ROOM_FOR_BANS)
        made.callback(self.bans.close)
        self.agent = Child("lookup", 0, False, Board.make())
        made.callback(self.agent.close)
        self.admin = Child("admin", 0, False, Board.make()) if self.admin_endpoints else None
        if self.admin is not None:
            made.callback(self.admin.close)
        for number in range(1, server.workers + 1):
            self.workers.append(self._worker(number))
            made.callback(self.workers[-1].close)
        if self.config.limit:
            spare = server.workers + SPARE_WORKERS
            self.claims.prepare(server.threads, columns(self.config), spare)

    def _worker(self, number: int) -> Child:
        threads = self.config.server.threads
        passwords = any(listen.auth != (AuthMethod.NONE,) for listen in self.config.listen)
        board = Board.make([each.name for each in self.config.listen], threads, len(self.rules.names))
        claims = self.claims.take(threads, columns(self.config)) if self.config.limit else None
        return Child("worker", number, passwords, board, claims, self.claims.give)

    @property
    def children(self) -> list[Child]:
        """All rows, the agent first."""
        return [self.agent, *self.workers, *([] if self.admin is None else [self.admin])]

    @property
    def endpoints(self) -> list[Endpoint]:
        """The sockets that its clients come to."""
        return [listener.endpoint for listener in self.listeners]

    @property
    def connections(self) -> int:
        """How many clients its workers carry."""
        boards = [worker.board for worker in self.workers if worker.pid]
        return sum(sum(reading.states(board).values()) for board in boards)

    @property
    def all_endpoints(self) -> list[Endpoint]:
        """Those, and where the server is asked about itself."""
        return [*self.endpoints, *self.admin_endpoints]

    @property
    def is_ready(self) -> bool:
        """Whether every worker serves."""
        return all(child.ready for child in self.children if not child.leaves)

    @property
    def accepts(self) -> bool:
        """Whether any of its workers still takes clients."""
        return any(worker.accepts for worker in self.workers)

    @property
    def is_late(self) -> bool:
        """Whether it should have been ready by now."""
        return self._give_up.passed()

    @property
    def is_gone(self) -> bool:
        """Whether it has ended and its last process was reaped."""
        return self.ending and not self.helpers.pids and not any(child.pid for child in self.children)

    @property
    def age(self) -> float:
        """Seconds since it was begun."""
        return monotonic() - self._begun

    # Its processes

    def vacancy(self) -> Child | None:
        """The first row without a process that should have one now."""
        return next((child for child in self._missing() if monotonic() >= child.restarts.not_before), None)

    def retire(self) -> None:
        """Tell the workers to accept no more and to take all the time that their tunnels need."""
        self.ending, self.stands_by = True, False
        self.end_admin()  # the next generation's knows all boards
        for worker in self.workers:
            worker.retire()

    def stand_by(self) -> None:
        """The same, while nobody comes after: whoever asks is still answered."""
        self.ending = self.stands_by = True
        for worker in self.workers:
            worker.retire()

    def end(self, number: int, seconds: float) -> None:
        """Tell the workers to end by a signal that gives them `seconds`, and know when to lose patience."""
        if self.stands_by:
            self.end_admin()
        self.ending, self.stands_by = True, False
        for worker in self.workers:
            worker.end(number, seconds + MERCY)

    def grow(self) -> None:
        """One worker more, until the next generation; its channels go to the agent that is there.

        Its claims count for those that are there as long as one of the spare boards is left (SIGTTIN four
        times); beyond, for those that are born after it.
        """
        number = max(worker.number for worker in self.workers) + 1
        worker = self._worker(number)
        self.workers.append(worker)
        if self.admin is not None:
            self.admin.renew()  # to see the new one's board
        kinds = {"names": worker.names, "passwords": worker.passwords}
        for word, end in ((word, end) for word, pairs in kinds.items() for _, end in pairs):
            line = self.agent.control
            if line is not None and not control.send(line, word, descriptors=(end.fileno(),)):
                self.agent.renew()  # it does not read; whoever replaces it is born with them
                return

    def outgrown(self) -> tuple[Child, int] | None:
        """A worker with more memory than any may have, and how many bytes that are; one a minute."""
        if not self._relieves.passed():
            return None
        for worker in self.workers:
            has = kernel.resident_memory(worker.pid) if worker.accepts and worker.pid else 0
            if has > self.config.server.most_memory:
                self._relieves = Deadline(BETWEEN_RELIEFS)
                return worker, has
        return None

    def relieve(self, worker: Child) -> None:
        """Replace a worker at once; its tunnels have the time of `drain`. Raises OSError, and it stays."""
        self.grow()
        worker.leaves = True
        worker.end(signal.SIGTERM, self.config.server.drain + MERCY)

    def shrink(self) -> None:
        """One worker less; it takes all the time that its tunnels need. The last one stays."""
        staying = [worker for worker in self.workers if not worker.leaves]
        if len(staying) > 1:
            staying[-1].leaves = True
            staying[-1].retire()

    def forget_who_left(self) -> None:
        """Give the rows of workers back that were one too many and have ended."""
        for worker in [each for each in self.workers if each.leaves and each.pid is None]:
            self.workers.remove(worker)
            hits.move(worker.board, self.left)
            worker.close()

    def kill_overdue(self) -> None:
        """Let the agent go once nobody asks any more, and kill who should have ended long ago."""
        if self.ending and self.agent.kill_at is None and not self._has_workers():
            self.agent.end(signal.SIGTERM, MERCY)
            self.helpers.end(MERCY)
            if not self.stands_by:
                self.end_admin()
        self.helpers.kill_overdue()
        for child in self.children:
            if child.kill_at is not None and monotonic() >= child.kill_at:
                child.kill_at = None
                child.signal(signal.SIGKILL)

    def newly_hung(self) -> list[Child]:
        """Tell children whose heartbeat has stopped for `hang` to say where and die; return which these
        are."""
        hung = []
        for child in self.children:
            if child.pid is None or child.hung or not child.hangs(self.config.server.hang):
                continue
            child.hung = True
            child.end(SPEAK_AND_DIE, LAST_WORD)
            hung.append(child)
        return hung

    def due(self) -> list[float]:
        """The times, on the monotonic clock, at which something has to be done for it."""
        due = [child.kill_at for child in self.children if child.kill_at is not None]
        starts = [child.restarts.not_before for child in self._missing()]
        return due + starts + self.helpers.due(self.agent.control)

    def close(self) -> None:
        """Give back what its rows hold, and the log last."""
        for child in self.children:
            child.close()
        self.bans.close()
        self.left.close()
        self.loud.close()
        self.users_version.close()
        self.sandbox.close()
        self.log.close(1.0)

    def _missing(self) -> list[Child]:
        """Rows that should have a process and have none; whoever ends is not replaced, but may still ask."""
        wanted = [child for child in self.children if not child.leaves]
        if self.ending:
            wanted = [self.agent] if self._has_workers() else []
            wanted += [self.admin] if self.stands_by and self.admin is not None else []
        return [child for child in wanted if child.pid is None]

    def end_admin(self) -> None:
        """Tell the admin process, if there is one, that it is not needed any more."""
        if self.admin is not None and self.admin.kill_at is None:
            self.admin.end(signal.SIGTERM, MERCY)

    def _has_workers(self) -> bool:
        return any(worker.pid for worker in self.workers)

    # Its files

    def open_users(self) -> int | None:
        """Open the users file for a new agent, None if there is none to open. Raises UsersError."""
        return self._users.open()

    def hand_on_users(self) -> None:
        """Give the agent the users file whenever it has changed."""
        if self.agent.control is None:
            return
        try:
            descriptor = self._users.open_changed()
        except UsersError as error:
            self.log.error("users-refused", error=str(error), kept="the users from before")
            return
        if descriptor is not None:
            if not control.send(self.agent.control, "users", descriptors=(descriptor,)):
                self._users.forget()  # it is dying, or does not read: try again
            os.close(descriptor)

    def reopen_log(self) -> bool:
        """Open the log by its name again, for rotation, and hand it on; False: it stays where it was."""
        try:
            descriptor = self.log.reopen()
        except OSError as error:
            self.log.error("log-not-reopened", file=error.filename, error=error.strerror)
            return False
        if not self.config.log.to.startswith("file:"):
            return False
        for child in self.children:
            if child.control is not None:
                control.send(child.control, "log", descriptors=(descriptor,))
        return True

    def give_log(self, child: Child) -> None:
        """Open the log for a child that cannot: the system's log daemon was restarted."""
        try:
            descriptor = self.log.duplicate()
        except OSError:  # it is not back yet; the child will ask again
            return
        if child.control is not None:
            control.send(child.control, "log", descriptors=(descriptor,))
        os.close(descriptor)
