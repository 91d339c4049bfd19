"""With whom a UDP client talks: what was decided about each destination, and who may answer.

Both sides are found by the bytes or the address that a datagram comes with, so that one that was met before
costs a look into a dictionary. Everything is bounded, and the destination that was written to longest ago
goes first.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from forksocks.config.model import Address
from forksocks.traffic.ports import written
from forksocks.wire import udp

MOST_PEERS = 256
MOST_HEADERS = 1024  # several names and ways to write one may lead to one peer
MEMORY = 60.0  # seconds after the last datagram to it that a peer may still answer
JUDGED = 5.0  # seconds that a decision about a destination holds

Remote = tuple[str, int] | tuple[str, int, int, int]  # as recvfrom(2) gives it


class Peer:
    """One remote address and port. header: what its answers are given to the client with.

    send: sendto(2) of the socket that reaches it. written: when the client last wrote to it. judged: until
    when the decision that it may be reached holds. Times are of the monotonic clock.
    """

    __slots__ = ("header", "judged", "remote", "send", "written")

    def __init__(self, remote: Remote, send: Callable[[memoryview | bytes, Remote], int]) -> None:
        self.remote = remote
        self.send = send
        self.header = answer_header(remote)
        self.written = 0.0
        self.judged = 0.0


class Peers:
    """What one association knows. headers: a peer by the header that the client writes to it with."""

    def __init__(self) -> None:
        self.headers: dict[bytes, Peer] = {}
        self.remotes: dict[Remote, Peer] = {}

    def remember(self, header: bytes, peer: Peer) -> None:
        """A header was found to mean this peer."""
        if len(self.headers) >= MOST_HEADERS:
            self.headers.clear()
        self.headers[header] = peer
        if peer.remote not in self.remotes:
            if len(self.remotes) >= MOST_PEERS:
                self._forget_the_oldest()
            self.remotes[peer.remote] = peer

    def _forget_the_oldest(self) -> None:
        """Make room for a quarter, so that the next ones need not look again."""
        oldest = sorted(self.remotes.values(), key=lambda peer: peer.written)[: MOST_PEERS // 4]
        for peer in oldest:
            del self.remotes[peer.remote]
        gone = set(oldest)
        for header in [header for header, peer in self.headers.items() if peer in gone]:
            del self.headers[header]


def remote_of(address: Address, port: int) -> Remote:
    """An address and a port as recvfrom(2) will give them back."""
    text = written(address)
    return (text, port) if address.version == 4 else (text, port, 0, 0)


def answer_header(remote: Remote) -> bytes:
    """The header for a datagram from `remote`: the true source."""
    family = socket.AF_INET6 if ":" in remote[0] else socket.AF_INET
    return udp.header(socket.inet_pton(family, remote[0].partition("%")[0]), remote[1])
