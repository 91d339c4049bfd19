"""A SOCKS5 client for byte-level tests, written from RFC 1928 and RFC 1929 alone.

It shares nothing with the server, so that both cannot be wrong in the same way.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from types import TracebackType
from typing import NamedTuple, Self

CONNECT, BIND, ASSOCIATE = 1, 2, 3
NO_AUTH, PASSWORD, NO_ACCEPTABLE = 0x00, 0x02, 0xFF
SUCCEEDED = 0
PATIENCE = 60.0  # seconds until a silent server fails the test

Endpoint = tuple[str, int]


class Reply(NamedTuple):
    """A server's reply: REP, BND.ADDR, BND.PORT."""

    code: int
    host: str
    port: int


class Client:
    """One connection to a server: `client.open(host, port)`, then `client.sock` is the tunnel.

    server: (host, port), the path of a unix socket, or a socket that is connected already.
    """

    def __init__(self, server: Endpoint | str | socket.socket, patience: float = PATIENCE) -> None:
        if isinstance(server, socket.socket):
            self.sock = server
            self.sock.settimeout(patience)
        elif isinstance(server, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(patience)
            self.sock.connect(server)
        else:
            self.sock = socket.create_connection(server, timeout=patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def open(self, host: str | bytes, port: int, user: bytes | None = None, password: bytes = b"") -> Reply:
        """Greet, authenticate if there is a user, and ask for CONNECT; the reply must be a success."""
        method = NO_AUTH if user is None else PASSWORD
        assert self.greet(method) == method
        if user is not None:
            assert self.authenticate(user, password) == 0
        reply = self.request(host, port)
        assert reply.code == SUCCEEDED, f"reply {reply}"
        return reply

    def greet(self, *methods: int) -> int:
        """Offer methods (none given: no authentication); return the one that the server picked."""
        offered = bytes(methods or (NO_AUTH,))
        self.sock.sendall(bytes((5, len(offered))) + offered)
        version, method = self.exactly(2)
        assert version == 5
        return method

    def authenticate(self, user: bytes, password: bytes) -> int:
        """Send a name and a password; return the status, 0 for success (RFC 1929)."""
        self.sock.sendall(credentials(user, password))
        version, status = self.exactly(2)
        assert version == 1
        return status

    def request(self, host: str | bytes, port: int, command: int = CONNECT) -> Reply:
        """Send a request and read its reply."""
        self.sock.sendall(request(host, port, command))
        return self.read_reply()

    def read_reply(self) -> Reply:
        """Read a reply and not a byte more."""
        version, code, reserved, kind = self.exactly(4)
        assert (version, reserved) == (5, 0)
        if kind == 3:
            bound = self.exactly(self.exactly(1)[0]).decode("ascii")
        else:
            bound = str(ipaddress.ip_address(self.exactly({1: 4, 4: 16}[kind])))
        return Reply(code, bound, int.from_bytes(self.exactly(2), "big"))

    def exactly(self, size: int) -> bytes:
        """Receive `size` bytes; EOFError if the server closes before."""
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            if not more:
                raise EOFError(f"closed after {data.hex(' ')}, expected {size} bytes")
            data += more
        return data

    def until_end(self) -> bytes:
        """Receive until the server closes its direction."""
        data = b""
        while more := self.sock.recv(65536):
            data += more
        return data

    def exchange(self, data: bytes) -> bytes:
        """Send bytes and receive as many."""
        self.sock.sendall(data)
        return self.exactly(len(data))

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def greeting(*methods: int) -> bytes:
    """The client's first message."""
    offered = bytes(methods or (NO_AUTH,))
    return bytes((5, len(offered))) + offered


def credentials(user: bytes, password: bytes) -> bytes:
    """RFC 1929's one message."""
    return bytes((1, len(user))) + user + bytes((len(password),)) + password


def request(host: str | bytes, port: int, command: int = CONNECT) -> bytes:
    """A request; a host that is written as an address goes as one, bytes always go as a name."""
    if isinstance(host, str):
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            host = host.encode("ascii")
        else:
            kind = 1 if address.version == 4 else 4
            return bytes((5, command, 0, kind)) + address.packed + port.to_bytes(2, "big")
    return bytes((5, command, 0, 3, len(host))) + host + port.to_bytes(2, "big")
