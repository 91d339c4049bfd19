"""A session that another thread ends, whatever its own thread is about to do."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from forksocks.config.model import AuthMethod
from forksocks.host.causes import Cause
from forksocks.host.scoreboard.slots import loose
from forksocks.session.life import Session
from tests.fuzz.session import make_service


class Carrier:
    """Notes of each abort whether its client had come to an end before."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self.aborts: list[bool] = []

    def moved(self) -> tuple[int, int]:
        """Nothing."""
        return 0, 0

    def abort(self) -> None:
        """Look for the client's end."""
        try:
            self.aborts.append(self._client.recv(1, socket.MSG_DONTWAIT) == b"")
        except BlockingIOError:
            self.aborts.append(False)


@pytest.fixture
def session() -> Iterator[Session]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Session(make_service((AuthMethod.NONE,)), "w1-0-1", theirs, None, "unix", loose())


def test_the_carrier_hears_of_it_before_the_client_seems_to_have_ended(session: Session) -> None:
    carrier = Carrier(session.client.socket)
    session.client.carry(carrier)
    session.abort(Cause.DRAINED)
    assert carrier.aborts == [False]
    assert session.client.socket.recv(1) == b""


def test_who_is_aborted_before_it_has_a_carrier(session: Session) -> None:
    carrier = Carrier(session.client.socket)
    session.abort(Cause.DRAINED)
    session.client.carry(carrier)
    assert carrier.aborts == [True]
