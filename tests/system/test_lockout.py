"""Guessing passwords bans, over all workers and over a reload, and nobody who is known is locked out."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.system.client import PASSWORD, Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import make_user
from tests.system.server import Server

CONFIG = """
[server]
workers = 2
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[auth]
users = "users"
lockout = { failures = 3, window = "1h", ban = "1h" }
[log]
level = "info"
"""


def login(started: Server, user: bytes, password: bytes) -> int:
    with Client(started.endpoint) as client:
        assert client.greet(PASSWORD) == PASSWORD
        return client.authenticate(user, password)


def test_guesses_ban_over_workers_and_reloads(server: Start, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "alice", "right")
    started = server(config=CONFIG)
    assert [login(started, b"alice", b"wrong") for _ in range(3)] == [1, 1, 1]
    banned = {
        line["what"]: line for line in (started.wait_for("banned", what=w) for w in ("network", "user"))
    }
    assert banned["network"]["client"] == "127.0.0.1"
    assert banned["user"]["user"] == "alice"
    for _ in range(4):
        assert login(started, b"alice", b"right") == 1
    assert started.wait_for("auth-failed", reason="banned")["user"] == "alice"
    assert started.wait_for("end", cause="banned")["hint"].startswith("for 3")
    assert eventually(lambda: len(started.events("end", cause="banned")) == 4)
    started.send_signal(signal.SIGHUP)
    started.wait_for("reloaded")
    assert login(started, b"alice", b"right") == 1
    assert eventually(lambda: len(started.events("end", cause="banned")) == 5)


def test_who_was_here_before_is_not_locked_out(server: Start, echo: Origin, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "alice", "right")
    make_user(tmp_path / "users", "carol", "right")
    started = server(config=CONFIG)
    assert login(started, b"alice", b"right") == 0
    assert [login(started, b"mallory%d" % number, b"wrong") for number in range(5)] == [1] * 5
    started.wait_for("banned", what="network")
    assert login(started, b"carol", b"right") == 1
    with Client(started.endpoint) as client:
        client.open(echo.host, echo.port, b"alice", b"right")
        assert client.exchange(b"hello") == b"hello"
