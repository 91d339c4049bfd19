"""`forksocksctl refusals` against a real server."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.system.client import PASSWORD, Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import ctl, make_user, objects
from tests.system.server import OBSERVED, Server

CONFIG = (
    OBSERVED
    + """
name = "lan"
[auth]
users = "{folder}/users"
[[rule]]
name = "no-smtp"
ports = [25]
action = "deny"
[[rule]]
name = "rest"
action = "allow"
"""
)


def told(folder: Path, *filters: str, at_least: int = 1) -> Sequence[dict[str, Any]]:
    """What is told, once there is so much: a client hears of its refusal before it is noted."""
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        found[:] = objects(folder, "refusals", *filters)
        return len(found) >= at_least

    assert eventually(enough), found
    return found


def refuse(served: Server) -> str:
    """Be refused by a rule; returns the client's address."""
    with Client(served.endpoint) as client:
        host, port = client.sock.getsockname()
        assert client.greet(PASSWORD) == PASSWORD
        assert client.authenticate(b"alice", b"secret") == 0
        assert client.request("mail.example", 25).code == 2
    return f"{host}:{port}"


def test_who_was_refused_last_and_why(server: Start, echo: Origin, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "alice", "secret")
    served = server(config=CONFIG.format(folder=tmp_path))
    assert objects(tmp_path, "refusals") == []
    with Client(served.endpoint) as client:  # who is served is none of them
        client.open(echo.host, echo.port, b"alice", b"secret")
    address = refuse(served)
    (denied,) = told(tmp_path, "cause=denied")
    assert (denied["client"], denied["user"], denied["listen"]) == (address, "alice", "lan")
    assert (denied["command"], denied["to"], denied["rule"]) == ("connect", "mail.example:25", "no-smtp")
    assert (denied["first"], denied["hint"], denied["reply"]) == ("050102", "rule no-smtp", "2")
    assert denied["age"] >= 0
    with Client(served.endpoint) as client:  # name and password with the greeting
        client.sock.sendall(b"\x05\x01\x02" + b"\x01\x05alice\x05wrong")
        client.until_end()
    with socket.create_connection(served.endpoint) as sock:
        sock.sendall(b"GET http://alice:wrong@example.com/ HTTP/1.1\r\n\r\n")
        while sock.recv(4096):
            pass
    (failed,) = told(tmp_path, "cause=auth-failed", "user=alice")
    (http,) = told(tmp_path, "cause=protocol-error", "from=127.0.0.0/8")
    assert (failed["first"], bytes.fromhex(http["first"])) == ("050102", b"GET http")
    assert "HTTP" in http["hint"]
    table = ctl(tmp_path, "refusals").out
    assert b"no-smtp" in table
    assert b"wrong" not in table
    assert {each["cause"] for each in told(tmp_path)} == {"denied", "auth-failed", "protocol-error"}


def test_what_was_refused_outlives_workers_and_generations(server: Start, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "alice", "secret")
    served = server(config=CONFIG.format(folder=tmp_path))
    addresses = {refuse(served) for _ in range(4)}
    told(tmp_path, at_least=4)
    before = served.wait_for_workers(2)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    served.wait_for_workers(2, without=before)
    assert {each["client"] for each in told(tmp_path, at_least=4)} == addresses
    ctl(tmp_path, "reload", "--wait")
    assert eventually(lambda: served.generations == {2})
    last = refuse(served)
    *before_it, newest = told(tmp_path, at_least=5)
    assert newest["client"] == last, "the newest comes last"
    assert {each["client"] for each in before_it} == addresses
