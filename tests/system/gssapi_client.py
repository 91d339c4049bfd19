"""A client of RFC 1961 for tests, written from the RFC over python-gssapi."""

from __future__ import annotations

import importlib
import socket
from typing import Any

from tests.system.client import ASSOCIATE, Client, Endpoint, Reply, request

GSSAPI = 1
AUTHENTICATION, PROTECTION, DATA = 1, 2, 3
NONE, INTEGRITY, CONFIDENTIALITY, SELECTIVE = 0, 1, 2, 3


class Aborted(Exception):
    """The server sent 01 FF."""


class KerberosClient:
    """One connection; `log_in`, then everything goes at the level that was agreed on."""

    def __init__(self, server: Endpoint) -> None:
        self._gssapi: Any = importlib.import_module("gssapi")
        self.plain = Client(server)
        self.sock = self.plain.sock
        self.context: Any = None
        self.token = b""
        self.level = NONE
        self._rest = b""

    def __enter__(self) -> KerberosClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def establish(self, service: str = "socks", sequence: bool = False) -> None:
        """Negotiate the method, and the context; `sequence` is what RFC 1961 section 3.2 keeps for TCP."""
        gssapi = self._gssapi
        assert self.plain.greet(GSSAPI) == GSSAPI
        name = gssapi.Name(f"{service}@localhost", gssapi.NameType.hostbased_service)
        flag = gssapi.RequirementFlag
        flags = flag.mutual_authentication | flag.confidentiality | flag.integrity | flag.replay_detection
        if sequence:
            flags |= flag.out_of_sequence_detection
        self.context = gssapi.SecurityContext(name=name, usage="initiate", flags=flags)
        self.token = bytes(self.context.step())
        self.send(AUTHENTICATION, self.token)
        while not self.context.complete:
            self.context.step(self.read(AUTHENTICATION))

    def agree(self, level: int, bare: bool = False) -> int:
        """Ask for a level; return what was granted."""
        asked = bytes((level,))
        self.send(PROTECTION, asked if bare else bytes(self.context.wrap(asked, False).message))
        answer = self.read(PROTECTION)
        (self.level,) = answer if bare else self.context.unwrap(answer).message
        return self.level

    def log_in(self, level: int) -> None:
        """All of it; the level must be granted."""
        self.establish()
        assert self.agree(level) == level

    def send(self, kind: int, token: bytes) -> None:
        self.sock.sendall(bytes((1, kind)) + len(token).to_bytes(2, "big") + token)

    def read(self, kind: int) -> bytes:
        """Read a message of a kind; Aborted if the server gives up."""
        head = self.plain.exactly(2)
        if head == b"\x01\xff":
            raise Aborted
        assert head == bytes((1, kind))
        return self.plain.exactly(int.from_bytes(self.plain.exactly(2), "big"))

    def open(self, host: str, port: int) -> Reply:
        """Ask for CONNECT; the reply must be a success."""
        return self.ask(request(host, port))

    def ask(self, asked: bytes) -> Reply:
        """Send a request; the reply must be a success, and names an address of IPv4."""
        self.write(asked)
        data = self.exactly(10)
        assert data[:4] == b"\x05\x00\x00\x01", data
        return Reply(data[1], socket.inet_ntoa(data[4:8]), int.from_bytes(data[8:], "big"))

    def associate(self, level: int, sequence: bool = False) -> Endpoint:
        """Log in and ask for UDP ASSOCIATE; return where datagrams go."""
        self.establish(sequence=sequence)
        assert self.agree(level) == level
        reply = self.ask(request("0.0.0.0", 0, ASSOCIATE))
        return reply.host, reply.port

    def wrapped(self, data: bytes, encrypt: bool | None = None) -> bytes:
        """One message of data at the level that was agreed on, as a datagram too has to be one."""
        if self.level == NONE:
            return data
        encrypt = self.level != INTEGRITY if encrypt is None else encrypt
        token = bytes(self.context.wrap(data, encrypt).message)
        return bytes((1, DATA)) + len(token).to_bytes(2, "big") + token

    def unwrapped(self, message: bytes) -> bytes:
        """What is in a datagram that came."""
        if self.level == NONE:
            return message
        assert message[:4] == bytes((1, DATA)) + (len(message) - 4).to_bytes(2, "big")
        result = self.context.unwrap(message[4:])
        assert result.encrypted is (self.level != INTEGRITY)
        return bytes(result.message)

    def write(self, data: bytes, encrypt: bool | None = None) -> None:
        """Send data, in messages where there is a level."""
        for at in range(0, len(data), 32768):
            self.sock.sendall(self.wrapped(data[at : at + 32768], encrypt))

    def receive(self) -> bytes:
        """Receive some data; b"" at the end."""
        if self.level == NONE:
            return self.sock.recv(65536)
        try:
            token = self.read(DATA)
        except EOFError:
            return b""
        result = self.context.unwrap(token)
        assert result.encrypted is (self.level != INTEGRITY)
        return bytes(result.message)

    def exactly(self, size: int) -> bytes:
        """Receive `size` bytes of data."""
        while len(self._rest) < size:
            data = self.receive()
            if not data:
                raise EOFError
            self._rest += data
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def until_end(self) -> bytes:
        """Receive data until the server ends its direction."""
        found = [self._rest]
        while data := self.receive():
            found.append(data)
        return b"".join(found)
