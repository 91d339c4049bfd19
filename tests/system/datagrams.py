"""A client's side of UDP ASSOCIATE, written from RFC 1928 section 7 alone, and UDP sockets to talk to."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import select
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

from tests.system.client import ASSOCIATE, NO_AUTH, PATIENCE, SUCCEEDED, Client, Endpoint

LARGEST = 65_536


class Datagram(NamedTuple):
    """What came through the relay: from whom, as the header says, and its payload."""

    host: str
    port: int
    payload: bytes
    fragment: int = 0


class Association:
    """An association: `control` is its connection, `relay` where datagrams go, `sock` sends them.

    server: where to connect to, or a connection. sock: the socket that sends, if not a new one. claim: what
    the request says about where the client sends from.
    """

    def __init__(
        self,
        server: Endpoint | socket.socket,
        claim: Endpoint = ("0.0.0.0", 0),
        sock: socket.socket | None = None,
    ) -> None:
        self.control = Client(server)
        self.sock = sock or udp_socket(self.control.sock.getsockname()[0])
        assert self.control.greet() == NO_AUTH
        self.reply = self.control.request(*claim, ASSOCIATE)
        assert self.reply.code == SUCCEEDED, self.reply
        self.relay = (self.reply.host, self.reply.port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.control.sock.close()
        self.sock.close()

    def send(self, payload: bytes, host: str | bytes, port: int, fragment: int = 0) -> None:
        """Send a datagram to a host, through the relay."""
        self.sock.sendto(header(host, port, fragment) + payload, self.relay)

    def receive(self) -> Datagram:
        """Receive the next one."""
        message, source = self.sock.recvfrom(LARGEST)
        assert source[:2] == self.relay
        return parse(message)

    def nothing_came(self) -> bool:
        """Whether nothing is there to be received now."""
        return is_empty(self.sock)


def is_empty(sock: socket.socket) -> bool:
    """Whether a socket has nothing to be received now."""
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return not poller.poll(0)


def header(host: str | bytes, port: int, fragment: int = 0) -> bytes:
    """The header of a datagram; bytes always go as a name."""
    if isinstance(host, bytes):
        return bytes((0, 0, fragment, 3, len(host))) + host + port.to_bytes(2, "big")
    address = ipaddress.ip_address(host)
    return (
        bytes((0, 0, fragment, 1 if address.version == 4 else 4)) + address.packed + port.to_bytes(2, "big")
    )


def parse(message: bytes) -> Datagram:
    """Take a datagram from the relay apart."""
    assert message[:2] == b"\0\0"
    size = {1: 4, 4: 16}[message[3]]
    host = str(ipaddress.ip_address(message[4 : 4 + size]))
    port = int.from_bytes(message[4 + size : 6 + size], "big")
    return Datagram(host, port, message[6 + size :], message[2])


def udp_socket(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A UDP socket on an address, which fails a test that waits too long."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.bind((host, port))
    return sock


@contextlib.contextmanager
def remote(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A UDP socket that a client talks to."""
    with udp_socket(host) as sock:
        yield sock


def port_of(sock: socket.socket) -> int:
    """Where a socket is bound."""
    port: int = sock.getsockname()[1]
    return port


def free_ports(count: int) -> range:
    """Ports in a row, for TCP and UDP, below those that Linux gives to whoever wants any."""
    while True:
        first = random.randrange(12_000, 30_000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    sock = stack.enter_context(socket.socket(socket.AF_INET, kind))
                    sock.bind(("127.0.0.1", port))
            return range(first, first + count)
