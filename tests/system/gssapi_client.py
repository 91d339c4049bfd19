"""A client of RFC 1961 for tests, written from the RFC over python-gssapi."""

from __future__ import annotations

import importlib
from typing import Any

from tests.system.client import Client, Endpoint, Reply, request

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

    def establish(self, service: str = "socks") -> None:
        """Negotiate the method, and the context."""
        gssapi = self._gssapi
        assert self.plain.greet(GSSAPI) == GSSAPI
        name = gssapi.Name(f"{service}@localhost", gssapi.NameType.hostbased_service)
        flags = gssapi.RequirementFlag.mutual_authentication | gssapi.RequirementFlag.confidentiality
        self.context = gssapi.SecurityContext(
            name=name, usage="initiate", flags=flags | gssapi.RequirementFlag.integrity
        )
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
        self.write(request(host, port))
        data = self.exactly(4)
        bound = self.exactly({1: 4, 4: 16}[data[3]] + 2)
        assert data[:2] == b"\x05\x00", data
        return Reply(data[1], "", int.from_bytes(bound[-2:], "big"))

    def write(self, data: bytes, encrypt: bool | None = None) -> None:
        """Send data, in messages where there is a level."""
        if self.level == NONE:
            self.sock.sendall(data)
            return
        encrypt = self.level != INTEGRITY if encrypt is None else encrypt
        for at in range(0, len(data), 32768):
            self.send(DATA, bytes(self.context.wrap(data[at : at + 32768], encrypt).message))

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
