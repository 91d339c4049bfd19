"""A worker: accepts clients and serves each in a thread of its pool, until it is told to stop.

The main thread serves nobody. It waits for signals and for the supervisor's word, keeps the process title,
and sees to the end: SIGTERM, or the supervisor's death, lets tunnels finish within the drain time and resets
what is left; SIGQUIT resets at once.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import setproctitle

from forksocks.access import gssapi, passwords
from forksocks.access.clients import Clients
from forksocks.access.guard import EgressGuard
from forksocks.access.handshakes import Handshakes
from forksocks.access.limits import Limits
from forksocks.access.rules import Rules
from forksocks.access.shares import Shares
from forksocks.access.verified import Verified
from forksocks.config.model import Address, AuthMethod, Bind, Config, ListenConfig
from forksocks.host import channels, control, gss, kernel, shortage, signals
from forksocks.host.causes import Cause
from forksocks.host.channels import Channels
from forksocks.host.deadline import Deadline
from forksocks.host.dialled import Dialled
from forksocks.host.log import Log
from forksocks.host.pool import Accepting, Pool, SocketAddress
from forksocks.host.routes import Routes
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.claims import Claims
from forksocks.host.scoreboard.identity import identity, numbers
from forksocks.host.scoreboard.slots import Slots
from forksocks.host.subscriber import subscriber
from forksocks.host.version import Version
from forksocks.session import inspection
from forksocks.session.client import who
from forksocks.session.life import Session
from forksocks.session.service import METHODS, TICK, Notes, Service
from forksocks.traffic.lookups import Lookups
from forksocks.traffic.pipes import Pipes
from forksocks.traffic.relay import may_splice
from forksocks.traffic.resolve import LookupFailed, read_answer, read_name_answer, reverse_question
from forksocks.traffic.sources import Source
from forksocks.wire.gssapi import Level
from forksocks.wire.messages import Method

TITLE_EVERY = 1.0  # seconds between two looks at the title
VANISHED_LOOK = 10.0  # seconds between two looks for peers that have vanished
DRAIN_LOOK = 0.05  # seconds between two looks whether the last tunnel has ended, at first
SOON = 10.0  # seconds in which a drain mostly ends; a tunnel that outlasts them may take a day
LAST_WORDS = 2.0  # seconds for sessions that were reset to log their end
# One client's look-ups under way, of all that a worker may have.
SHARE = 4
# One user's BINDs that wait for their peer, or one address's where there are no users.
BINDS = 4


class Listener(Accepting, Protocol):
    """One listening socket that this worker accepts from."""

    @property
    def bind(self) -> Bind:
        """The address that it was bound for."""
        ...

    @property
    def config(self) -> ListenConfig:
        """What is served there."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker is born with: its number, its sockets, and whether this is a container.

    birth: the second in which that is, since 1970, and no other process of this number has the same. orders:
    where the admin process asks about sessions, or for their end. names, passwords: the asking ends of its
    channels to the lookup agent. version: counts the versions of the users file. board: its part of the
    scoreboard. claims: what counts towards limits, None without any; seed: what makes their entries
    unpredictable, the same in all workers.
    """

    number: int
    birth: int
    generation: int
    listeners: Sequence[Listener]
    control: socket.socket
    orders: socket.socket
    names: Sequence[socket.socket]
    passwords: Sequence[socket.socket]
    version: Version
    board: Board
    dialled: Dialled
    notes: Notes
    in_container: bool
    rules: Rules
    claims: Claims | None
    seed: bytes


class Worker:
    """One worker process after its fork; `run` returns when it has ended."""

    def __init__(self, config: Config, around: Surroundings, log: Log) -> None:
        self._config = config
        self._around = around
        self._log = log
        self._signals = signals.of_a_child()
        if config.asks_for(AuthMethod.GSSAPI):
            gss.without_files()
        self._names = Channels(around.names, SHARE)
        self._passwords = Channels(around.passwords, max(1, len(around.passwords) - 1))
        self._verified = Verified()
        self._routes = Routes()
        pipes = kernel.pipes_to_spare(config.server.threads)
        self._pipes = Pipes(pipes) if may_splice(config.server.relay) else None
        self._services = self._make_services()
        self._numbers = numbers(around.birth)
        self._slots = Slots(around.board)
        self._listener_of = [around.board.listeners.index(each.config.name) for each in around.listeners]
        self._moved: list[int] = []
        self._sessions: set[Session] = set()
        self._pool = Pool(around.listeners, config.server.threads, TICK, self._serve, log)
        self._drained: Deadline | None = None
        self._soon = 0.0
        self._let_go = False
        self._title = ""
        self._title_due = 0.0
        self._vanished_due = 0.0

    def run(self) -> None:
        """Serve until told to stop and drained."""
        self._beat()
        self._show_title()
        with shortage.starting_threads():
            self._pool.prepare()
        control.send(self._around.control, "ready")
        poller = select.poll()
        poller.register(self._signals.fileno(), select.POLLIN)
        poller.register(self._around.control, select.POLLIN)
        poller.register(self._around.orders, select.POLLIN)
        channels.greet(self._around.orders)
        while not self._is_over():
            patience = DRAIN_LOOK if self._is_about_to_end() else TITLE_EVERY
            for descriptor, _ in poller.poll(patience * 1000):
                if descriptor == self._signals.fileno():
                    self._obey(self._signals.take())
                elif descriptor == self._around.orders.fileno():
                    if not channels.answer_next(self._around.orders, self._answer):
                        poller.unregister(descriptor)
                elif not self._hear():
                    poller.unregister(descriptor)
            self._beat()
            self._show_title()
            self._let_go_of_listeners()
        self._end_sessions()

    def _beat(self) -> None:
        """Show the supervisor that this thread still runs, and everybody how the worker is doing."""
        pool = self._pool
        self._slots.beat(pool.threads, pool.busy, pool.waiting, self._drained is not None)
        self._slots.full(pool.full_times, pool.full_ns)
        pool.tell_if_full()
        self._around.notes.loudness.look()
        pool.tend()
        self._look_for_the_vanished()
        self._moved = self._slots.note_activity(self._moved)

    def _look_for_the_vanished(self) -> None:
        if monotonic() >= self._vanished_due:
            self._vanished_due = monotonic() + VANISHED_LOOK
            for session in self._sessions.copy():
                session.end_if_a_peer_has_vanished()

    def _obey(self, numbers: Sequence[int]) -> None:
        if signal.SIGQUIT in numbers:
            self._drain(0.0)
        elif signal.SIGTERM in numbers:
            self._drain(self._config.server.drain)

    def _hear(self) -> bool:
        """Take the supervisor's word; False when there is no supervisor any more."""
        heard = control.receive(self._around.control)
        if heard is None:
            self._drain(self._config.server.drain)
            return False
        word, _, descriptors = heard
        for descriptor in descriptors:
            if word == "log":
                self._log.replace(descriptor)
            else:
                os.close(descriptor)
        if word == "serve":  # our whole generation is ready; before that no client may meet it
            self._pool.open()
        elif word == "retire":  # another generation serves, and nobody waits for the end of this one
            self._drain(math.inf)
        return True

    def _answer(self, question: bytes) -> bytes:
        return inspection.answer(question, self._sessions.copy())

    def _drain(self, seconds: float) -> None:
        """Accept no more, and be gone after `seconds` at the latest; a second word can only shorten it."""
        self._pool.close()
        deadline = Deadline(seconds)
        if self._drained is None or deadline.at < self._drained.at:
            self._drained = deadline
            self._soon = monotonic() + SOON

    def _let_go_of_listeners(self) -> None:
        """Draining: once no thread waits in accept, close; clients would queue here for nobody."""
        if self._drained is None or self._let_go or self._pool.waiting:
            return
        self._let_go = True
        for each in self._around.listeners:
            each.socket.close()
        control.send(self._around.control, "closed")

    def _is_over(self) -> bool:
        return self._drained is not None and (self._drained.passed() or not self._pool.threads)

    def _is_about_to_end(self) -> bool:
        """Whether to look more often: in the first moments of a drain most of it happens."""
        return self._drained is not None and monotonic() < self._soon

    def _end_sessions(self) -> None:
        """Reset what is left, and give it time to say so in the log."""
        deadline = Deadline(LAST_WORDS)
        while self._pool.busy and not deadline.passed():
            self._beat()
            for session in list(self._sessions):
                session.abort(Cause.DRAINED)
            select.poll().poll(DRAIN_LOOK * 1000)

    def _serve(self, index: int, sock: socket.socket, address: SocketAddress) -> None:
        """Serve one client; the pool's threads end here with each of theirs."""
        peer, client = who(address)
        if peer is None:
            kernel.receive_timeout(sock, TICK)  # inherited from TCP listeners alone
        number = next(self._numbers)
        slot = self._slots.take(self._listener_of[index])
        slot.begin(number, client)
        session = Session(
            self._services[index], identity(self._around.number, number), sock, peer, client, slot
        )
        self._sessions.add(session)
        try:
            session.run()
        finally:
            self._sessions.discard(session)
            self._slots.give(slot)

    def _resolve(self, name: str, client: Address | None, deadline: Deadline) -> list[Address]:
        return read_answer(self._ask(name.encode("ascii"), client, deadline))

    def _name_of(self, address: Address, client: Address | None, deadline: Deadline) -> bytes:
        return read_name_answer(self._ask(reverse_question(address), client, deadline))

    def _ask(self, question: bytes, client: Address | None, deadline: Deadline) -> bytes:
        try:
            return self._names.ask(question, subscriber(client), deadline)
        except ConnectionError as error:  # the supervisor, who would have replaced it, is gone too
            raise LookupFailed("the lookup agent is gone") from error

    def _verify(
        self, name: bytes, password: bytes, client: Address | None, deadline: Deadline
    ) -> tuple[str, ...] | None:
        version = self._around.version.read()
        where = b"" if client is None else client.packed
        known = self._verified.knows(version, name, password, where)
        if known is not None:
            return known.groups
        try:
            asked = passwords.question(name, password, client)
            answer = self._passwords.ask(asked, subscriber(client), deadline)
        except ConnectionError as error:
            raise TimeoutError("the lookup agent is gone") from error
        right = passwords.read_answer(answer)
        if right is None:
            self._passwords.wasted(subscriber(client))
            return None
        self._verified.remember(version, name, password, right, where)
        return right.groups

    def _accept(
        self, conversation: bytes, token: bytes, client: Address | None, deadline: Deadline
    ) -> gssapi.Answer:
        asked = gssapi.question(conversation, token)
        try:
            return gssapi.read_answer(self._passwords.ask(asked, subscriber(client), deadline))
        except ConnectionError as error:
            raise TimeoutError("the lookup agent is gone") from error

    def _make_services(self) -> list[Service]:
        config, around = self._config, self._around
        lookups, binds = Lookups(self._resolve), Shares(BINDS)
        guard = EgressGuard(config.access, self._routes)
        limits = None if around.claims is None else Limits(config, around.claims, around.seed)
        handshakes = Handshakes(config.server.threads, lambda: self._pool.busy)
        clients = {
            method: Clients(config.access, method is not Method.NONE, around.in_container, self._routes)
            for method in METHODS.values()
        }
        admits = {method: each.admits for method, each in clients.items()}
        protection = frozenset(Level[each.name] for each in config.gssapi.protection)
        return [
            Service(
                listen=listener.config, methods=[METHODS[each] for each in listener.config.auth],
                admits=admits, listed=clients[Method.NONE].listed, rules=around.rules or None,
                refusal=guard.objection, resolve=self._resolve, name_of=self._name_of, lookups=lookups,
                verify=self._verify, accept=self._accept, protection=protection,
                sources={each.version: Source(each) for each in config.egress.addresses},
                handshakes=handshakes, dialled=around.dialled, ports=self._ports(), limits=limits,
                binds=binds, pipes=self._pipes, notes=around.notes,
            )
            for listener in around.listeners
        ]  # fmt: skip

    def _ports(self) -> frozenset[int]:
        """The TCP ports that this server listens on."""
        sockets = [each.socket for each in self._around.listeners if each.bind.path is None]
        return frozenset(sock.getsockname()[1] for sock in sockets)

    def _show_title(self) -> None:
        """Say in ps(1) how many connections there are; at most once in TITLE_EVERY."""
        now = monotonic()
        if now < self._title_due:
            return
        self._title_due = now + TITLE_EVERY
        state = "draining, " if self._drained else ""
        load = f"{self._pool.busy}/{self._config.server.threads} connections"
        who = f"worker {self._around.number} [generation {self._around.generation}, "
        title = f"forksocks: {who}{state}{load}]"
        if title != self._title:
            self._title = title
            setproctitle.setproctitle(title)
