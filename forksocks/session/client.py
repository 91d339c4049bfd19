"""The client that a session serves: its connection, what is known of it so far, and how it is told.

The steps of a session take a Client and nothing else, so each of them can be read and tested alone.
"""

from __future__ import annotations

import contextlib
import functools
import select
import socket
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from time import monotonic
from typing import Protocol

from forksocks.access.handshakes import GRACE, MOMENT, Stranger
from forksocks.access.limits import Holding
from forksocks.access.networks import normalised
from forksocks.access.rules import Decision
from forksocks.config.model import Address, Level, endpoint
from forksocks.host.causes import Cause
from forksocks.host.deadline import Deadline
from forksocks.host.log.lines import Field
from forksocks.host.pool import SocketAddress
from forksocks.host.scoreboard.slots import Slot
from forksocks.session.service import TICK, Asked, Ended, Service
from forksocks.traffic.pipes import Pipes
from forksocks.traffic.ports import written
from forksocks.wire import socks5
from forksocks.wire.messages import COMMAND_WORDS, Reply, Request

# How much a refused client may still send, and for how long, before the close: closing with unread bytes
# resets the connection, and the reset may overtake the reply (RFC 2525 section 2.17).
LAST_BYTES = 64 * 1024
LAST_SECONDS = 1.0
FIRST_BYTES = 24  # that are remembered of a client


class Carrier(Protocol):
    """What moves a client's bytes."""

    def moved(self) -> tuple[int, int]:
        """Bytes that were delivered: the client's, and those for the client."""

    def abort(self) -> None:
        """End now, whoever calls; nothing is sent to anyone."""


class Client:
    """A connection that was accepted. The steps of its session fill in what they find out.

    peer: the client's address, None on a unix socket; text: the same as it is logged. decision: the rules'
    last word on it. admitted: whether a client from its address is served at all, by the way it came in.
    holding: what it counts towards limits. target: the socket that carries its bytes on. answer: a reply in
    the client's own version of SOCKS. claimed: the user id of SOCKS4, which proves nothing. groups: those
    of the users file that the user is in. counted: what is
    logged at the end beside the bytes. slot: where the session is on the scoreboard. verbose: whether its
    steps are logged. first: the first bytes that it has sent, of the handshake.
    """

    __slots__ = (
        "aborted",
        "admitted",
        "answer",
        "asked",
        "carrier",
        "claimed",
        "counted",
        "deadline",
        "decision",
        "first",
        "groups",
        "holding",
        "identity",
        "log",
        "peer",
        "reached",
        "reply",
        "sealed",
        "service",
        "slot",
        "socket",
        "started",
        "target",
        "text",
        "took",
        "user",
        "usual_log",
        "verbose",
        "version",
        "waiting",
    )

    def __init__(
        self, service: Service, identity: str, sock: socket.socket, peer: Address | None, text: str,
        slot: Slot,
    ) -> None:  # fmt: skip
        self.service = service
        self.sealed = False
        self.slot = slot
        self.first = b""
        self.log = self.usual_log = service.notes.loudness.of(peer)
        self.verbose = self.log.level >= Level.DEBUG
        self.identity = identity
        self.text = text
        self.socket = sock
        self.peer = peer
        self.admitted = False
        self.target: socket.socket | None = None
        self.carrier: Carrier | None = None
        self.aborted: Cause | None = None
        self.started = monotonic()
        self.deadline = Deadline(service.listen.timeouts.handshake)
        self.waiting: Stranger | None = None
        self.answer: Callable[[Reply, bytes, int], bytes] = socks5.reply
        self.version = socks5.VERSION
        self.user: bytes | None = None
        self.groups: tuple[str, ...] = ()
        self.claimed: bytes | None = None
        self.counted: Mapping[str, int] = {}
        self.asked: Request | Asked | None = None
        self.decision: Decision | None = None
        self.holding: Holding | None = None
        self.reached: Address | None = None
        self.reply: Reply | None = None
        self.took: dict[str, float] = {}

    def receive(self, size: int) -> bytes:
        """Receive some of the handshake, within its one deadline; a crowd is waited for for GRACE alone."""
        stranger, handshakes = self.waiting, self.service.handshakes
        if stranger is not None:
            stranger.awaited(monotonic())
        while True:
            now = monotonic()
            left = self.deadline.at - now
            if left <= 0:
                raise Ended(Cause.HANDSHAKE_TIMEOUT)
            if stranger is not None and stranger.silence(now) > GRACE and handshakes.crowded(stranger):
                raise Ended(Cause.CROWDED)
            if left < TICK and not _readable(self.socket, left):
                continue
            if stranger is not None and handshakes.is_tight and not _readable(self.socket, MOMENT):
                handshakes.make_room()
                continue
            try:
                data = self.socket.recv(size)
            except BlockingIOError:  # a tick has passed
                continue
            if stranger is not None:
                stranger.spoke(monotonic())
            if len(self.first) < FIRST_BYTES:
                self.first = (self.first + data)[:FIRST_BYTES]
            return data

    def carry(self, carrier: Carrier) -> None:
        """Its bytes go this way from now on; who aborts it either finds the carrier or is found here."""
        self.carrier = carrier
        if self.aborted:
            carrier.abort()

    def come_in(self) -> bool:
        """It is a stranger no more, or has gone; False if it has been told to make room meanwhile."""
        waiting, self.waiting = self.waiting, None
        return waiting is None or self.service.handshakes.leave(waiting)

    def refusal(self, reply: Reply, cause: Cause, hint: str | None = None) -> Ended:
        """The end of a request that is not granted."""
        self.reply = reply
        return Ended(cause, hint, self.answer(reply, bytes(4), 0))

    def succeed(self, bound: str, port: int) -> None:
        """Tell the client that its request is granted, and the address and port where."""
        family = socket.AF_INET6 if ":" in bound else socket.AF_INET
        self.reply = Reply.SUCCEEDED
        self.socket.sendall(self.answer(Reply.SUCCEEDED, socket.inet_pton(family, bound), port))

    def part(self, answer: bytes) -> None:
        """Send a last answer so that it arrives: the client reads it before it meets the close."""
        if not answer:
            return
        self.slot.closing()
        deadline = Deadline(LAST_SECONDS)
        left = LAST_BYTES
        with contextlib.suppress(OSError):
            self.socket.sendall(answer)
            self.socket.shutdown(socket.SHUT_WR)
            while left > 0 and _readable(self.socket, deadline.remaining()):
                data = self.socket.recv(left)
                if not data:
                    break
                left -= len(data)

    @property
    def local(self) -> tuple[str, int]:
        """The address that its connection came to, in the family of `peer`, and its scope (ipv6(7)) or 0."""
        host, _, *more = self.socket.getsockname()
        return written(normalised(ip_address(host))), (more[1] if more else 0)

    @property
    def pipes(self) -> Pipes | None:
        """The pipes that may carry its bytes; none where these have to be unwrapped on their way."""
        return None if self.sealed else self.service.pipes

    @property
    def trace(self) -> Callable[[str], None] | None:
        """Where the decisions of the system are told, None when nobody listens."""
        return self._trace if self.log.level >= Level.TRACE else None

    def _trace(self, text: str) -> None:
        self.log.trace("system", id=self.identity, what=text)

    def decide(self, decision: Decision | None) -> None:
        """The rules have said something; it may be that more or less is to be logged from here on."""
        before, self.decision = self.decision, decision
        notes = self.service.notes
        notes.decided(before, decision)
        level = None if decision is None else decision.log
        if level is not None or self.log is not self.usual_log:
            usual = self.usual_log
            self.log = usual if level is None else notes.loudness.by_rule(usual, level)
            self.verbose = self.log.level >= Level.DEBUG

    def step(self, event: str, **facts: str) -> None:
        """Log a step of the protocol."""
        if self.verbose:
            self.log.debug(event, **self.facts(), **facts)

    def end(self, cause: Cause, hint: str | None) -> None:
        """Log the session's one line."""
        if self.log.level < cause.level:
            return
        took = self.took
        up, down = self.carrier.moved() if self.carrier else (0, 0)
        self.log.log(
            cause.level, "end", **self.facts(), cause=cause.value, hint=hint, up=up, down=down,
            **self.counted, auth=took.get("auth"), resolve=took.get("resolve"), connect=took.get("connect"),
            total=monotonic() - self.started,
        )  # fmt: skip

    def stranger(self) -> dict[str, Field]:
        """Who failed to log in: nothing that it can choose comes before its address (packaging/fail2ban)."""
        return {
            "client": self.text, "listen": self.service.listen.name, "user": self.user, "id": self.identity,
        }  # fmt: skip

    def facts(self) -> dict[str, Field]:
        """What is known by now, as it is logged; made only when it is."""
        facts: dict[str, Field] = {
            "id": self.identity, "listen": self.service.listen.name, "client": self.text, "user": self.user,
        }  # fmt: skip
        if self.version != socks5.VERSION:
            facts["socks"], facts["userid"] = self.version, self.claimed or None
        if self.asked is not None:
            command, host, port = self.asked
            facts["cmd"] = COMMAND_WORDS.get(command, f"{command:02x}")
            facts["to"] = host + b":%d" % port if isinstance(host, bytes) else endpoint(host, port)
            facts["addr"] = None if self.reached is None else endpoint(self.reached, port)
        if self.decision is not None:
            facts["rule"] = self.decision.rule
        facts["reply"] = None if self.reply is None else int(self.reply)
        return facts


def _readable(sock: socket.socket, seconds: float) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def who(address: SocketAddress) -> tuple[Address | None, str]:
    """Return a client's address, None on a unix socket, and what the log calls it."""
    if len(address) < 2 or isinstance(address, str | bytes):
        return None, "unix"
    peer, text = _address(address[0])
    return peer, f"{text}:{address[1]}"


@functools.lru_cache(maxsize=4096)  # a client rarely comes only once
def _address(host: str) -> tuple[Address, str]:
    """The address, and as it stands before a port.

    An inherited socket of both families calls a client of IPv4 ::ffff:192.0.2.1; here it is what it is.
    """
    peer = normalised(ip_address(host))
    return peer, f"[{host}]" if peer.version == 6 else str(peer)
