"""BIND: listen where a peer will see us, and let in the one that the client expects (RFC 1928 section 4).

Strangers who come first are closed and the wait goes on, so that nobody can take the peer's place by being
faster; a crowd of them ends it. The wait ends with the client's connection too.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable, Collection

from forksocks.config.model import Address, Ports
from forksocks.host import kernel
from forksocks.host.causes import Cause
from forksocks.host.deadline import Deadline
from forksocks.traffic.ports import bind_within
from forksocks.traffic.sources import Source

MOST_STRANGERS = 16
BACKLOG = 16
ANY_PORT = 9  # for the question which address of ours a peer would see; nothing is sent (RFC 863)


class NobodyCame(Exception):
    """The peer did not come: why, as a cause and in words."""

    def __init__(self, cause: Cause, text: str) -> None:
        super().__init__(text)
        self.cause = cause


def address_seen_from(peer: Address, source: Source | None = None) -> str:
    """The address of ours that a connection to `peer` would come from; OSError without a route to it."""
    if source is not None and source.address is not None:
        return str(source.address)
    family = socket.AF_INET if peer.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        if source is not None:
            source.put_on(probe)
        probe.connect((str(peer), ANY_PORT))
        return str(probe.getsockname()[0])


def listen(host: str, ports: Ports | None, scope: int = 0, interface: str | None = None) -> socket.socket:
    """A socket that listens on `host` (scope: as for bind_within), on a port of its own; OSError.

    interface: by which alone peers may come in.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if interface is not None:
            kernel.leave_by(listener, interface)
        bind_within(listener, host, ports, scope)
        kernel.tune_prompt(listener)
        listener.setblocking(False)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class Waiting:
    """The wait for one peer.

    expected: its addresses as text, none for anyone. permit: whether an address might be dialled too.
    """

    def __init__(
        self,
        client: socket.socket,
        listener: socket.socket,
        expected: Collection[str],
        permit: Callable[[str], bool],
    ) -> None:
        self._client = client
        self._listener = listener
        self._expected = expected
        self._permit = permit
        self._strangers = 0
        self._poller = select.poll()
        self._poller.register(listener, select.POLLIN)
        self._poller.register(client, select.POLLIN)

    def peer(self, deadline: Deadline) -> tuple[socket.socket, str, int]:
        """Return the peer's connection, its address and its port. Raises NobodyCame."""
        while True:
            events = self._poller.poll(deadline.milliseconds())
            if not events:
                raise NobodyCame(Cause.CONNECT_TIMEOUT, "nobody came")
            for descriptor, event in events:
                if descriptor == self._client.fileno():
                    self._hear_client(event)
                elif (found := self._accept()) is not None:
                    return found

    def _hear_client(self, event: int) -> None:
        """Bytes may wait for their peer in the socket; a client that went away does not."""
        if not event & ~select.POLLIN:
            with contextlib.suppress(OSError):
                if self._client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    self._poller.modify(self._client, 0)  # only its end is of interest now
                    return
        raise NobodyCame(Cause.CLIENT_CLOSED, "the client did not wait")

    def _accept(self) -> tuple[socket.socket, str, int] | None:
        try:
            sock, address = self._listener.accept()
        except OSError:  # gone again, or busy: the deadline bounds it
            return None
        host = address[0].partition("%")[0]
        if (not self._expected or host in self._expected) and self._permit(host):
            sock.setblocking(True)
            return sock, host, address[1]
        sock.close()
        self._strangers += 1
        if self._strangers >= MOST_STRANGERS:
            raise NobodyCame(Cause.DENIED, f"{MOST_STRANGERS} others came")
        return None
