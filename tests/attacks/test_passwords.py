"""Guessing, crowding and changing passwords at a running server, and where a password must never be seen."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from tests.attacks.clients import client_of, write_users
from tests.system.client import PASSWORD, credentials, greeting, request
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually


def test_a_hundred_wrong_passwords_at_once_starve_nobody(server: Start, echo: Origin, tmp_path: Path) -> None:
    users = tmp_path / "users"
    write_users(users, alice=b"secret", bob=b"another")
    started = server("--workers", "1", "--users", str(users))
    with contextlib.ExitStack() as stack:
        tunnel = stack.enter_context(client_of(started, "127.0.0.1"))
        tunnel.open(echo.host, echo.port, b"alice", b"secret")
        guessers = [stack.enter_context(client_of(started, "127.0.0.9")) for _ in range(100)]
        for guesser in guessers:
            guesser.sock.sendall(
                greeting(PASSWORD) + credentials(b"alice", b"guess") + request("127.0.0.1", 1)
            )
        for _ in range(50):
            assert tunnel.exchange(b"a tunnel goes on") == b"a tunnel goes on"
        with client_of(started, "127.0.0.2") as known:  # remembered: it waits for no hash
            known.open(echo.host, echo.port, b"alice", b"secret")
        with client_of(started, "127.0.0.3") as new:  # and a new one has a channel that is not the guessers'
            new.open(echo.host, echo.port, b"bob", b"another")
        assert {guesser.until_end() for guesser in guessers} == {b"\x05\x02\x01\x01"}
    started.stop()
    causes = [end["cause"] for end in started.events("end") if end["client"].startswith("127.0.0.9:")]
    assert set(causes) <= {"auth-failed", "banned", "crowded"}
    assert "auth-failed" in causes
    assert len(echo.peers) == 3


def test_a_changed_password_is_the_only_one_at_once(server: Start, echo: Origin, tmp_path: Path) -> None:
    users = tmp_path / "users"
    write_users(users, alice=b"before")
    started = server("--users", str(users), "--workers", "2")

    def tries(password: bytes) -> int:
        with client_of(started, "127.0.0.1") as client:
            assert client.greet(PASSWORD) == PASSWORD
            return client.authenticate(b"alice", password)

    assert [tries(b"before") for _ in range(6)] == [0] * 6, "remembered by both workers and the agent"
    assert tries(b"after") == 1
    write_users(users, alice=b"after")
    started.wait_for("users-read")
    assert [tries(b"before") for _ in range(4)] == [1] * 4
    assert [tries(b"after") for _ in range(2)] == [0] * 2
    seen = len(started.events("users-read"))
    users.write_bytes(b"")  # an empty file is nobody
    assert eventually(lambda: len(started.events("users-read")) > seen)
    assert tries(b"after") == 1


CANARY = b"canary7381"


@pytest.mark.parametrize("format", ["text", "json"])
def test_passwords_are_nowhere_to_be_seen(server: Start, echo: Origin, tmp_path: Path, format: str) -> None:
    """A right one, a wrong one, one in place of a name's user, and one that ends the protocol."""
    users = tmp_path / "users"
    write_users(users, alice=CANARY + b"-right")
    started = server("-vvv", "--users", str(users), "--log-format", format)
    with client_of(started, "127.0.0.1") as tunnel:
        tunnel.open(echo.host, echo.port, b"alice", CANARY + b"-right")
        for message in (
            credentials(b"alice", CANARY + b"-wrong"),
            credentials(b"nobody", CANARY),
            credentials(b"", CANARY),
            b"\x02" + credentials(b"alice", CANARY)[1:],
            credentials(b"alice", CANARY + b"-right") + b"\x05\x01\x00\x09",
            credentials(b"alice", CANARY)[:-1],
        ):
            with client_of(started, "127.0.0.1") as client:
                client.sock.sendall(greeting(PASSWORD) + message)
                client.sock.shutdown(socket.SHUT_WR)
                client.until_end()
        assert eventually(lambda: len(started.events("end")) >= 6)
        for pid in started.pids:
            for name in ("cmdline", "environ", "comm", "status", "limits"):
                with contextlib.suppress(PermissionError):
                    assert CANARY not in Path(f"/proc/{pid}/{name}").read_bytes(), (pid, name)
            with contextlib.suppress(PermissionError):
                limits = Path(f"/proc/{pid}/limits").read_text()
                assert [line.split()[4:6] for line in limits.splitlines() if "core" in line] == [["0", "0"]]
    started.stop()
    assert not [line for line in started.log if CANARY.decode() in line or CANARY.hex() in line]
