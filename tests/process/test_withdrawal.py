"""Listeners that are given up: on Linux for real, elsewhere as before."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forksocks.host import linux
from forksocks.process import withdrawal


@contextlib.contextmanager
def listening(host: str, port: int = 0) -> Iterator[socket.socket]:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen()
        sock.settimeout(60)
        yield sock


def test_who_has_come_is_served_there_and_who_comes_goes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(withdrawal, "PATIENCE", 0.0)
    with contextlib.ExitStack() as stack:
        narrow = stack.enter_context(listening("127.0.0.1"))
        address = narrow.getsockname()
        wide = stack.enter_context(listening("0.0.0.0", address[1]))
        before = stack.enter_context(socket.create_connection(address))
        withdrawal.withdraw([narrow])
        after = stack.enter_context(socket.create_connection(address))
        for listener, client in ((narrow, before), (wide, after)):
            accepted, peer = listener.accept()
            stack.enter_context(accepted)
            assert peer == client.getsockname()
            client.sendall(b"hello")
            assert accepted.recv(5) == b"hello"


def test_it_waits_until_somebody_has_taken_who_came(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening("127.0.0.1") as narrow, socket.create_connection(narrow.getsockname()):
        taken: list[socket.socket] = []

        def take(_: float) -> None:
            taken.append(narrow.accept()[0])

        monkeypatch.setattr(time, "sleep", take)
        withdrawal.withdraw([narrow])
        assert len(taken) == 1
        taken[0].close()


def test_what_the_kernel_would_not_pass_over_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as unix, listening("127.0.0.1") as narrow:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        withdrawal.withdraw([unix])
        monkeypatch.setattr(linux, "IS_LINUX", False)
        withdrawal.withdraw([narrow])
        with socket.create_connection(narrow.getsockname()), narrow.accept()[0]:
            pass
