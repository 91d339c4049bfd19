"""Addresses to the first connection that answers (Happy Eyeballs, RFC 8305), in blocking style.

The naive way, one address after the other, waits a whole timeout on every dead one; a broken IPv6 then breaks
half the web. Here families alternate, a new attempt starts when the last one has failed or after STAGGER, the
first to connect wins and the others are closed. One deadline bounds it all.

Each address is judged by `permit` right before connect(2), and it is that very address that is dialled.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

from forksocks.config.model import Address
from forksocks.host import kernel
from forksocks.host.causes import Cause
from forksocks.host.deadline import Deadline
from forksocks.traffic.sources import Sources
from forksocks.wire.messages import Reply

STAGGER = 0.25  # RFC 8305 section 5, "Connection Attempt Delay"

# What a failed connect(2) means to the client (RFC 1928 section 6) and in the log, the most telling first: of
# all attempts to a name, the error that is highest here is the one reported. TTL_EXPIRED is also what a
# time-out is called, which has no code of its own.
_REFUSED = (Reply.CONNECTION_REFUSED, Cause.REFUSED)
_HOST = (Reply.HOST_UNREACHABLE, Cause.UNREACHABLE)
_TIMEOUT = (Reply.TTL_EXPIRED, Cause.CONNECT_TIMEOUT)
_NO_HOPS = (Reply.TTL_EXPIRED, Cause.UNREACHABLE)
_NETWORK = (Reply.NETWORK_UNREACHABLE, Cause.UNREACHABLE)
_SHORT = (Reply.GENERAL_FAILURE, Cause.NO_RESOURCES)
_OTHER = (Reply.GENERAL_FAILURE, Cause.CONNECT_FAILED)
_RANK = (_REFUSED, _HOST, _TIMEOUT, _NO_HOPS, _NETWORK, _SHORT, _OTHER)

OUTCOME_FOR_ERRNO: Mapping[int, tuple[Reply, Cause]] = {
    errno.ECONNREFUSED: _REFUSED,
    errno.EHOSTUNREACH: _HOST,
    errno.EHOSTDOWN: _HOST,
    errno.ETIMEDOUT: _TIMEOUT,
    errno.ETIME: _NO_HOPS,  # never connect(2)'s own: what we call EHOSTUNREACH for want of hops
    errno.ENETUNREACH: _NETWORK,
    errno.ENETDOWN: _NETWORK,
    errno.ENODEV: _NETWORK,  # a rule's interface is gone
    errno.EAFNOSUPPORT: _NETWORK,
    errno.EMFILE: _SHORT,
    errno.ENFILE: _SHORT,
    errno.ENOBUFS: _SHORT,
    errno.ENOMEM: _SHORT,
    errno.EADDRNOTAVAIL: _SHORT,
}

Permit = Callable[[Address], str | None]
Trace = Callable[[str], None]


class DialFailed(Exception):
    """No address could be connected to: the reply that the client gets, the cause, and what happened."""

    def __init__(self, reply: Reply, cause: Cause, text: str) -> None:
        super().__init__(text)
        self.reply = reply
        self.cause = cause


class Connection(NamedTuple):
    """A connection that was made: a non-blocking socket, whom it reached, and its own address and port."""

    socket: socket.socket
    address: Address
    bound_host: str
    bound_port: int


class Attempt(NamedTuple):
    """A connect(2) under way; `text` is its address as text."""

    socket: socket.socket
    address: Address
    text: str


class Dialler:
    """Dials for one session.

    permit: None when an address may be dialled, else what stands against it. sources: where outgoing
    connections come from, by IP version. trace: told of each attempt.
    """

    def __init__(self, permit: Permit, sources: Sources | None = None, trace: Trace | None = None) -> None:
        self._permit = permit
        self._sources = sources or {}
        self._trace = trace
        self._failures: list[tuple[Address, int]] = []
        self._refusals: list[tuple[Address, str]] = []
        self._running: dict[int, Attempt] = {}
        self._poller = select.poll()
        self._port = 0

    def dial(self, addresses: Sequence[Address], port: int, deadline: Deadline) -> Connection:
        """Return the first connection that is made. Raises DialFailed."""
        self._port = port
        waiting = interleave(addresses) if len(addresses) > 1 else list(addresses)
        waiting.reverse()
        try:
            while waiting or self._running:
                if waiting:
                    winner = self._start(waiting.pop())
                    if winner:
                        return winner
                winner = self._race(deadline, more=bool(waiting))
                if winner:
                    return winner
                if deadline.passed():
                    self._failures += [(a.address, errno.ETIMEDOUT) for a in self._running.values()]
                    break
            raise self._failed()
        finally:
            for attempt in self._running.values():
                attempt.socket.close()
            self._running.clear()

    def _start(self, address: Address) -> Connection | None:
        """Begin to connect to one address; return the connection if it is there at once."""
        reason = self._permit(address)
        if reason is not None:
            if self._trace:
                self._trace(f"{address} is not allowed: {reason}")
            self._refusals.append((address, reason))
            return None
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | kernel.SOCK_NONBLOCK)
        except OSError as error:
            self._fail(address, error.errno)
            return None
        attempt = Attempt(sock, address, str(address))
        try:
            self._prepare(sock, address.version)
            code = sock.connect_ex((attempt.text, self._port))
        except OSError as error:
            code = error.errno or errno.EIO
        if code == errno.EINPROGRESS:
            if self._trace:
                self._trace(f"dialling {attempt.text}")
            self._running[sock.fileno()] = attempt
            self._poller.register(sock, select.POLLOUT)
            return None
        return self._judge(attempt, code)

    def _prepare(self, sock: socket.socket, version: int) -> None:
        if not kernel.SOCK_NONBLOCK:
            sock.setblocking(False)
        kernel.tune_prompt(sock)
        source = self._sources.get(version)
        if source is not None:
            kernel.tune_late_port(sock)
            source.put_on(sock)

    def _race(self, deadline: Deadline, more: bool) -> Connection | None:
        """Wait until an attempt ends or, with `more` addresses waiting, the next one is due."""
        if not self._running:
            return None
        patience = deadline.remaining()
        for descriptor, event in self._poller.poll((min(patience, STAGGER) if more else patience) * 1000):
            attempt = self._running.pop(descriptor)
            failed = event != select.POLLOUT
            code = attempt.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if failed else 0
            winner = self._judge(attempt, code)
            if winner:
                return winner
            self._poller.unregister(descriptor)
        return None

    def _judge(self, attempt: Attempt, code: int) -> Connection | None:
        """An attempt has ended with `code`: return the connection, or note the failure."""
        if not code:
            bound = attempt.socket.getsockname()
            if bound[:2] != (attempt.text, self._port):
                return Connection(attempt.socket, attempt.address, bound[0], bound[1])
            code = errno.ECONNREFUSED  # TCP's simultaneous open: a free local port has met itself
        elif code == errno.EHOSTUNREACH and kernel.time_exceeded(attempt.socket):
            code = errno.ETIME
        attempt.socket.close()
        self._fail(attempt.address, code)
        return None

    def _fail(self, address: Address, code: int | None) -> None:
        self._failures.append((address, code or errno.EIO))
        if self._trace:
            self._trace(f"{address}: {_words(code or errno.EIO)}")

    def _failed(self) -> DialFailed:
        if not self._failures:
            if not self._refusals:
                return DialFailed(Reply.HOST_UNREACHABLE, Cause.DNS_FAILED, "no address")
            reasons = "; ".join(dict.fromkeys(reason for _, reason in self._refusals))
            return DialFailed(Reply.NOT_ALLOWED, Cause.DENIED, reasons)
        address, code = min(self._failures, key=lambda failure: _RANK.index(outcome(failure[1])))
        return DialFailed(*outcome(code), f"{address}: {_words(code)}")


def outcome(code: int) -> tuple[Reply, Cause]:
    """Return what a failed connect(2) means: the reply and the cause for its errno."""
    return OUTCOME_FOR_ERRNO.get(code, _OTHER)


def _words(code: int) -> str:
    return "Time to live exceeded" if code == errno.ETIME else os.strerror(code)


def interleave(addresses: Iterable[Address]) -> list[Address]:
    """Alternate the families, the first address's first, else in the order given (RFC 8305 section 4)."""
    ordered = list(addresses)
    if not ordered:
        return ordered
    first = ordered[0].version
    ours = [address for address in ordered if address.version == first]
    others = [address for address in ordered if address.version != first]
    pairs = chain.from_iterable(zip_longest(ours, others))
    return [address for address in pairs if address is not None]
