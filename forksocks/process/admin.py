"""The admin process: reads the scoreboard, answers `forksocksctl` over a unix socket, Prometheus over HTTP.

It has no listener of clients, no traffic and no secret, and may be killed at any time: the supervisor forks
the next one, and whoever asks meanwhile waits in the socket's queue.

The protocol: a connection carries one request and its answer. The request is a line of JSON, at most LONGEST
bytes, sent within PATIENCE seconds: `{"verb": "tunnels", "filters": {"user": "alice"}}`. The answer is a line
of JSON for each object, and then one that says how it ended: `{"done": 3}` with the number of objects, or
`{"error": "..."}`. A reader that takes nothing for PATIENCE seconds is left. Only root, the account that
started the server, the one that it became, and members of the configured group are answered; of these the
group may only look. What changes something is asked of the workers, each of which has a channel for it.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import select
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import setproctitle

from forksocks.access.cases import Judge
from forksocks.access.limits import Gauge
from forksocks.access.rules import Rules
from forksocks.config.model import Config
from forksocks.host import control, kernel, shortage, signals
from forksocks.host.deadline import Deadline
from forksocks.host.log import Log
from forksocks.host.pool import Accepting, Pool, SocketAddress
from forksocks.host.routes import Routes
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.books import Unsettled
from forksocks.host.scoreboard.claims import ClaimBoard
from forksocks.host.scoreboard.page import Page
from forksocks.host.shared import Shared
from forksocks.host.web import Web
from forksocks.status.answers import BadRequest, answer
from forksocks.status.frame import Sources
from forksocks.status.lines import Lines
from forksocks.status.metrics import Metrics
from forksocks.status.watch import Watch

LONGEST = 4096  # bytes of a request
PATIENCE = 5.0  # seconds
THREADS = 8  # questions answered at once
TICK = 1.0  # seconds
BATCH = 64 * 1024  # bytes of an answer that are collected before they are sent


class Rights(enum.Enum):
    """What one who asks may do."""

    LOOK = enum.auto()
    ALL = enum.auto()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the admin process is born with.

    listeners: the unix socket, if there is one; http: that of HTTP, likewise. page, boards: the scoreboard
    to read, the boards by their key; refused: what ended workers have refused; hits: where the rules of
    this generation are counted; loud: where its workers read how much to log. board: its own part, which is
    a heartbeat. orders: the asking ends of the workers' channels, by the same keys, and of the lookup
    agent's, by `agent`. bans: where that one writes who is banned. users: the uids that may do everything
    beside its own; group: a gid whose members may look. generation, rules: what it serves by. claims, seed:
    what workers count towards limits, and the key to it.
    """

    control: socket.socket
    listeners: Sequence[Accepting]
    http: Sequence[socket.socket]
    page: Page
    boards: Mapping[int, Board]
    refused: Shared
    hits: Sequence[Board]
    loud: Page
    orders: Mapping[int, socket.socket]
    agent: int
    bans: Page
    board: Board
    users: frozenset[int]
    group: int | None
    generation: int
    rules: Rules
    in_container: bool
    claims: Sequence[ClaimBoard]
    seed: bytes


class Admin:
    """The admin process after its fork; `run` returns when it has ended."""

    def __init__(self, config: Config, around: Surroundings, log: Log) -> None:
        self._around = around
        self._log = log
        self._signals = signals.of_a_child()
        self._lines = Lines(around.orders)
        self._watch = Watch(around.page, around.boards, around.refused)
        self._sources = Sources(
            self._watch, self._lines, config, around.agent, around.bans, around.generation,
            Judge(config, around.rules, Routes(), around.in_container),
            Gauge(config, around.claims, around.seed), around.hits, around.loud,
        )  # fmt: skip
        self._pool = Pool(around.listeners, THREADS, TICK, self._serve, log) if around.listeners else None
        self._web = self._web_server(config) if around.http else None

    def _web_server(self, config: Config) -> Web:
        http = config.admin.http
        metrics = Metrics(self._watch, http is None or http.host is None or http.host.is_loopback)
        return Web(self._around.http, metrics.answer)

    def run(self) -> None:
        """Answer until told to end, or until there is no supervisor any more."""
        setproctitle.setproctitle("forksocks: admin")
        self._around.board.beat()
        with shortage.starting_threads():
            if self._pool is not None:
                self._pool.start()
            if self._web is not None:
                self._web.start()
        control.send(self._around.control, "ready")
        poller = select.poll()
        poller.register(self._signals.fileno(), select.POLLIN)
        poller.register(self._around.control, select.POLLIN)
        while True:
            for descriptor, _ in poller.poll(TICK * 1000):
                told = descriptor == self._signals.fileno() and self._signals.take()
                if told or (descriptor == self._around.control.fileno() and not self._hear()):
                    return
            self._around.board.beat()
            if self._pool is not None:
                self._pool.tend()
            self._watch.sample()
            self._lines.forget_the_gone()

    def _hear(self) -> bool:
        """Take the supervisor's word; False when there is no supervisor any more."""
        heard = control.receive(self._around.control)
        if heard is None:
            return False
        word, _, descriptors = heard
        for descriptor in descriptors:
            if word == "log":
                self._log.replace(descriptor)
            else:
                os.close(descriptor)
        return True

    def _serve(self, _index: int, sock: socket.socket, _address: SocketAddress) -> None:
        with sock, contextlib.suppress(OSError):
            sock.settimeout(PATIENCE)
            rights = self._rights(sock)
            if rights is None:
                self._send(sock, [{"error": "only root, the server's own account and its group may ask"}])
                return
            try:
                request = self._read(sock)
                found = list(answer(request, self._sources, rights is Rights.ALL))
            except BadRequest as error:
                self._send(sock, [{"error": str(error)}])
            except Unsettled:
                self._send(sock, [{"error": "the supervisor has stopped in the middle of its books"}])
            else:
                self._send(sock, [*found, {"done": len(found)}])

    def _rights(self, sock: socket.socket) -> Rights | None:
        """What whoever has connected may do; None for nothing."""
        peer = kernel.peer_credentials(sock)
        if peer is None:  # the file's permissions have decided
            return Rights.ALL if self._around.group is None else Rights.LOOK
        uid, gids = peer
        if uid in (*self._around.users, os.geteuid()):
            return Rights.ALL
        return Rights.LOOK if self._around.group in gids else None

    def _read(self, sock: socket.socket) -> object:
        """Read the request; BadRequest for what is none."""
        deadline = Deadline(PATIENCE)
        line = b""
        while not line.endswith(b"\n"):
            if len(line) > LONGEST:
                raise BadRequest(f"a request has at most {LONGEST} bytes")
            sock.settimeout(max(0.001, deadline.remaining()))
            try:
                data = sock.recv(LONGEST)
            except TimeoutError:
                raise BadRequest(f"a request is one line, within {PATIENCE:.0f} seconds") from None
            if not data:
                raise BadRequest("a request is one line")
            line += data
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise BadRequest("a request is a line of JSON") from None

    def _send(self, sock: socket.socket, objects: list[dict[str, object]]) -> None:
        """Send a line each; whoever does not read is left after PATIENCE."""
        sock.settimeout(PATIENCE)
        batch = b""
        for each in objects:
            batch += json.dumps(each, separators=(",", ":")).encode() + b"\n"
            if len(batch) >= BATCH:
                _send_some(sock, batch)
                batch = b""
        _send_some(sock, batch)


def _send_some(sock: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[sock.send(view) :]
