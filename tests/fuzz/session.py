"""A whole session over a socketpair: all real but what is looked up and what is dialled."""

from __future__ import annotations

import mmap
import socket
from functools import partial
from ipaddress import IPv4Address
from typing import Any, cast
from unittest import mock

from forksocks.access.gssapi import Answer, Refused
from forksocks.access.handshakes import Handshakes
from forksocks.access.shares import Shares
from forksocks.config.model import Address, AuthMethod, CommandName, Level, ListenConfig, Timeouts
from forksocks.host.causes import Cause
from forksocks.host.deadline import Deadline
from forksocks.host.dialled import Dialled
from forksocks.host.log import Log
from forksocks.host.log.loudness import Loudness
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.hits import Hits
from forksocks.host.scoreboard.page import Page
from forksocks.host.scoreboard.refusals import SIZE, Refusals
from forksocks.host.scoreboard.slots import Slot
from forksocks.session import connect
from forksocks.session.life import Session
from forksocks.session.service import METHODS, Notes, Service
from forksocks.traffic.dial import Connection, DialFailed
from forksocks.traffic.lookups import Lookups
from forksocks.traffic.resolve import LookupFailed
from forksocks.wire.foreign import BAD_REQUEST, HTTP_METHODS
from forksocks.wire.gssapi import Level as Protection
from forksocks.wire.messages import Method, Reply

FOUND = IPv4Address("192.0.2.1")
GREETING = b"hello"  # of every target
SHORT = Timeouts(handshake=1.0, resolve=0.05, connect=0.05, idle=1.0, half_closed=1.0, bind=0.02)
LONGEST = 4096  # bytes of a client; a socketpair takes them without anybody reading


class FakeLog:
    """Takes every line and keeps none; a crash is a finding."""

    level = Level.TRACE

    def crash(self, error: BaseException, **fields: object) -> None:
        raise AssertionError("a bug in a session") from error

    def __getattr__(self, name: str) -> Any:
        return lambda *words, **fields: None


class FakeDialler:
    """Connects to a target that says GREETING and ends, or fails, by the port; `far`: targets' ends."""

    def __init__(self, far: list[socket.socket], *_: object) -> None:
        self._far = far

    def dial(self, addresses: list[Address], port: int, deadline: Deadline) -> Connection:
        if port % 4 == 3:
            raise DialFailed(Reply.CONNECTION_REFUSED, Cause.REFUSED, "refused")
        near, far = socket.socketpair()
        near.setblocking(False)
        far.sendall(GREETING)
        far.shutdown(socket.SHUT_WR)
        self._far.append(far)
        return Connection(near, addresses[0], "192.0.2.7", 40000)


def resolve(name: str, client: Address | None, deadline: Deadline) -> list[Address]:
    """Every name has one address, but some."""
    if name.startswith("x"):
        raise LookupFailed("unknown")
    if name.startswith("t"):
        raise TimeoutError
    return [FOUND]


def accept(conversation: bytes, token: bytes, client: Address | None, deadline: Deadline) -> Answer:
    """Every token but some wants another one; contexts need Kerberos, so none is ever finished."""
    if token.startswith(b"x"):
        raise Refused("no")
    return Answer(token[:10])


def make_service(auth: tuple[AuthMethod, ...]) -> Service:
    """A listener that serves every command; a password is right where it is the name."""
    return Service(
        listen=ListenConfig("fuzz", (), auth, commands=tuple(CommandName), timeouts=SHORT),
        methods=[METHODS[each] for each in auth],
        admits={method: lambda client: True for method in Method},
        listed="@loopback",
        rules=None,
        refusal=lambda address: "closed" if address.is_private and address != FOUND else None,
        resolve=resolve,
        name_of=lambda address, client, deadline: b"name.example",
        lookups=Lookups(resolve),
        verify=lambda name, password, client, deadline: () if name == password else None,
        accept=accept,
        protection=frozenset(Protection),
        sources={},
        handshakes=Handshakes(64, lambda: 0),
        dialled=Dialled(),
        ports=frozenset(),
        limits=None,
        binds=Shares(4),
        pipes=None,
        notes=Notes(
            Refusals(mmap.mmap(-1, SIZE)),
            Hits(Board.make(), ()),
            Loudness(Page.make(16), cast(Log, FakeLog())),
        ),
    )


SERVICES = [
    make_service((AuthMethod.NONE,)),
    make_service((AuthMethod.PASSWORD,)),
    make_service((AuthMethod.PASSWORD, AuthMethod.NONE)),
    make_service((AuthMethod.GSSAPI,)),
]


def serve(data: bytes) -> None:
    """Be a client that sends `data` behind a byte that picks the listener, and ends; judge what was said."""
    if not data:
        return
    service, data = SERVICES[data[0] % len(SERVICES)], data[1 : 1 + LONGEST]
    ours, theirs = socket.socketpair()
    slot = mock.MagicMock(spec=Slot, cells=memoryview(bytearray(16)).cast("Q"), up=0, down=1)
    far: list[socket.socket] = []
    with ours, mock.patch.object(connect, "Dialler", partial(FakeDialler, far)):
        ours.sendall(data)
        ours.shutdown(socket.SHUT_WR)
        Session(service, "fuzz", theirs, None, "fuzz", slot).run()
        assert theirs.fileno() < 0
        said = _all_of(ours)
        slot.end.assert_called_once()
        arrived = b"".join(map(_all_of, far))
    for sock in far:
        sock.close()
    assert len(far) <= 1
    is_http = data[:1] and data[0] in HTTP_METHODS
    assert said[:1] in (b"", b"\x05", b"\x00") or is_http
    assert data.endswith(arrived)
    if far:
        assert said.endswith(GREETING)
    elif data[:1] not in (b"\x04", b"\x05"):
        assert said == (BAD_REQUEST if is_http else b"")


def _all_of(sock: socket.socket) -> bytes:
    sock.settimeout(10)
    said = b""
    while more := sock.recv(65536):
        said += more
    return said
