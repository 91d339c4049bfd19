"""Whether a peer has vanished; that one really does is tested in tests/system/test_vanishing.py."""

from __future__ import annotations

import socket

import pytest

from forksocks.host import kernel
from tests.traffic.tunnels import stuff, tcp_pair


def test_who_has_nothing_to_answer_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "VANISHED", 0.0)
    near, far = tcp_pair()
    with near, far:
        assert not kernel.has_vanished(near)


def test_who_has_no_room_is_there() -> None:
    near, far = tcp_pair()
    with near, far:
        stuff(near)
        assert not kernel.has_vanished(near)


def test_what_is_no_tcp_connection_has_no_peer_that_could() -> None:
    near, far = socket.socketpair()
    with near, far:
        assert not kernel.has_vanished(near)
    assert not kernel.has_vanished(near)


def test_what_is_left_behind_unread_has_its_time() -> None:
    near, far = tcp_pair()
    with near, far:
        assert not near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        kernel.tune_parting(near)
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == kernel.VANISHED * 1000
