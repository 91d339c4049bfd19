"""The admin process in this process: who is answered, and what becomes of requests that are none."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forksocks.access.rules import Rules
from forksocks.config.model import Bind, Config, Level, LogConfig, ServerConfig
from forksocks.host import kernel, signals
from forksocks.host.log import Log
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.books import Books
from forksocks.host.scoreboard.page import Page
from forksocks.process import admin
from forksocks.process.listeners import Endpoint
from forksocks.verbs.asking import TRIES, ask
from forksocks.verbs.verb import NoServer, Refused


class Unsignalled:
    """In place of a child's signals: they stay those of the tests."""

    def __init__(self) -> None:
        self._pair = socket.socketpair()

    def fileno(self) -> int:
        return self._pair[0].fileno()


Start = Callable[..., Path]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(signals, "of_a_child", Unsignalled)
    monkeypatch.setattr("setproctitle.setproctitle", lambda title: None)
    running: list[tuple[socket.socket, threading.Thread]] = []

    def make(users: frozenset[int] = frozenset({os.geteuid()}), group: int | None = None) -> Path:
        path = tmp_path / f"admin{len(running)}"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        kernel.receive_timeout(listener, 0.1)
        listener.listen()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setblocking(False)
        books = Books()
        books.publish({"version": "1.2", "deaths": {}})
        around = admin.Surroundings(
            control=theirs, listeners=[Endpoint(listener, Bind(path=path), Bind(path=path))], http=[],
            page=books.page, refused=books.refused, hits=[], loud=Page.make(256), boards={}, orders={},
            agent=1,            bans=Page.make(4096), board=Board.make(),
            users=users, group=group, generation=1, rules=Rules([]), in_container=False,
            claims=[], seed=b"key",
        )  # fmt: skip
        log = Log.open(LogConfig(level=Level.ERROR))
        thread = threading.Thread(target=admin.Admin(Config(ServerConfig(), ()), around, log).run)
        thread.start()
        assert ours.recv(100) == b"ready "
        running.append((ours, thread))
        return path

    yield make
    for ours, thread in running:
        ours.close()
        thread.join(30)
        assert not thread.is_alive()


def say(path: Path, data: bytes, end: bool = False) -> list[Any]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(path))
        sock.sendall(data)
        if end:
            sock.shutdown(socket.SHUT_WR)
        with sock.makefile() as lines:
            return [json.loads(line) for line in lines]


def test_a_request_and_its_answer(start: Start) -> None:
    path = start()
    status, done = say(path, b'{"verb":"status"}\n')
    assert (status["version"], done) == ("1.2", {"done": 1})
    assert [found["version"] for found in ask(path, "status")] == ["1.2"]


@pytest.mark.parametrize(
    "data",
    [
        b"\n", b"{\n", b"\xff\n", b"GET / HTTP/1.1\r\n\r\n", b"5\n", b'{"verb":"reboot"}\n',
        b"[" * 3000 + b"\n", b"x" * (admin.LONGEST + 1), b'{"verb":"status"}\n' * 2,
    ],
)  # fmt: skip
def test_what_is_no_request_is_answered_with_an_error(start: Start, data: bytes) -> None:
    (error,) = say(start(), data)
    assert list(error) == ["error"]
    assert error["error"].isprintable()


def test_half_a_request(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "error" in say(start(), b'{"verb"', end=True)[0]
    monkeypatch.setattr(admin, "PATIENCE", 0.05)
    assert "within" in say(start(), b'{"verb"')[0]["error"]


def test_a_stranger_is_not_answered(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "peer_credentials", lambda sock: (os.geteuid() + 1, frozenset({5, 6})))
    with pytest.raises(Refused, match="only root"):
        list(ask(start(group=7), "status"))
    assert list(ask(start(group=6), "status"))
    with pytest.raises(Refused, match="only root"):  # a group looks
        list(ask(start(group=6), "end", {"user": "alice"}))
    assert list(ask(start(users=frozenset({os.geteuid() + 1})), "status"))


def test_where_credentials_cannot_be_asked_the_file_decides(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "peer_credentials", lambda sock: None)
    assert list(ask(start(users=frozenset()), "status"))


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(NoServer, match=r"\[admin\]"):
        list(ask(tmp_path / "nothing", "status"))
    with pytest.raises(NoServer):
        list(ask(tmp_path / ("x" * 200), "status"))


@pytest.mark.parametrize(
    ("answer", "error", "times"),
    [(b"", NoServer, TRIES), (b'{"a":1}\n', NoServer, 1), (b"what?\n", Refused, 1)],
)
def test_an_answer_that_breaks_off_or_is_none(
    tmp_path: Path, answer: bytes, error: type[Exception], times: int
) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            for _ in range(times):
                sock, _ = listener.accept()
                with sock:
                    sock.recv(4096)
                    sock.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(error):
            list(ask(path, "status"))
        thread.join()
