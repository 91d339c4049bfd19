"""Limits hold over all workers of a running server, and a killed worker's share is given back."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.programs import ctl, make_user, objects
from tests.system.server import Server
from tests.system.test_end import open_one

CONFIG = """
[server]
workers = 3
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[log]
level = "info"
[limit.person]
"""
MOST = 6


@pytest.fixture
def held() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def attempt(started: Server, echo: Origin) -> tuple[int, Client]:
    """Ask for a tunnel; the reply, and the client whatever it is."""
    client = Client(started.endpoint)
    client.greet()
    return client.request(echo.host, echo.port).code, client


def alive(client: Client) -> bool:
    with contextlib.suppress(OSError, EOFError):
        return client.exchange(b"x") == b"x"
    return False


def test_connections_are_counted_over_all_workers(
    server: Start, echo: Origin, held: contextlib.ExitStack
) -> None:
    started = server(config=f'{CONFIG}per = "address"\nconnections = {MOST}\n')
    clients = []
    for _ in range(MOST):
        code, client = attempt(started, echo)
        clients.append(held.enter_context(client))
        assert code == 0
        assert client.exchange(b"x") == b"x"
    code, client = attempt(started, echo)
    held.enter_context(client)
    assert code == 2
    end = started.wait_for("end", cause="limited")
    assert (end["hint"], end["reply"]) == (f"limit person: {MOST} connections", "2")
    clients[0].sock.close()
    started.wait_for("end", cause="client-closed")
    code, client = attempt(started, echo)
    held.enter_context(client)
    assert code == 0


def test_a_killed_worker_gives_its_share_back(
    server: Start, echo: Origin, held: contextlib.ExitStack
) -> None:
    started = server(config=f'{CONFIG}per = "all"\nconnections = {MOST}\n')
    clients = []
    for _ in range(MOST):
        code, client = attempt(started, echo)
        clients.append(held.enter_context(client))
        assert code == 0
    victim = started.workers[0]
    os.kill(victim, signal.SIGKILL)
    started.wait_for("child-died", pid=victim)
    lost = [alive(client) for client in clients].count(False)
    started.wait_for_workers(3)
    codes = []
    for _ in range(lost + 2):
        code, client = attempt(started, echo)
        held.enter_context(client)
        codes.append(code)
    assert codes == [0] * lost + [2, 2]


def test_new_connections_are_counted_over_all_workers(
    server: Start, echo: Origin, held: contextlib.ExitStack
) -> None:
    started = server(config=f'{CONFIG}per = "address"\nnew = "{MOST}/d"\n')
    codes = []
    for _ in range(MOST + 2):
        code, client = attempt(started, echo)
        codes.append(code)
        client.sock.close()
    assert codes == [0] * MOST + [2, 2]
    assert started.wait_for("end", cause="limited")["hint"] == f"limit person: new {MOST}/d burst {MOST}"


def fill(started: Server, echo: Origin, held: contextlib.ExitStack) -> None:
    for _ in range(MOST):
        code, client = attempt(started, echo)
        held.enter_context(client)
        assert code == 0


def refusals(started: Server, echo: Origin, held: contextlib.ExitStack) -> list[int]:
    """The replies to so many more requests that every worker hears some."""
    codes = []
    for _ in range(8 * MOST):
        code, client = attempt(started, echo)
        held.enter_context(client)
        codes.append(code)
    return codes


def test_workers_that_were_added_count_for_those_before_them(
    server: Start, echo: Origin, held: contextlib.ExitStack
) -> None:
    started = server(config=f'{CONFIG}per = "all"\nconnections = {MOST}\n')
    for number in (4, 5):
        os.kill(started.supervisor, signal.SIGTTIN)
        started.wait_for_workers(number)
    fill(started, echo, held)
    assert set(refusals(started, echo, held)) == {2}


def test_the_tunnels_of_a_generation_before_count(
    server: Start, echo: Origin, held: contextlib.ExitStack
) -> None:
    started = server(config=f'{CONFIG}per = "all"\nconnections = {MOST}\n')
    fill(started, echo, held)
    os.kill(started.supervisor, signal.SIGHUP)
    started.wait_for("reloaded")
    assert set(refusals(started, echo, held)) == {2}
    os.kill(started.supervisor, signal.SIGTTIN)
    started.wait_for_workers(4)
    assert set(refusals(started, echo, held)) == {2}


EXPLAINED = """per = "user"
connections = {most}
[admin]
socket = "{folder}/admin.sock"
[auth]
users = "{folder}/users"
[[rule]]
name = "staff"
groups = ["staff"]
to = ["localhost", "127.0.0.1"]
action = "allow"
limits = ["person"]
"""


def test_a_running_server_explains_how_full_its_limits_are(
    server: Start, echo: Origin, held: contextlib.ExitStack, tmp_path: Path
) -> None:
    make_user(tmp_path / "users", "alice", "secret")
    users = tmp_path / "users"
    users.write_text(users.read_text().rstrip("\n") + ":staff\n")
    started = server(config=CONFIG + EXPLAINED.format(most=2, folder=tmp_path))
    (tmp_path / "forksocks.toml").unlink()  # it is the server that is asked
    words = ("explain", "--running", "--from", "127.0.0.1", "--to", f"localhost:{echo.port}")
    for number in range(2):
        (found,) = objects(tmp_path, *words, "--user", "alice")
        assert (found["decision"], found["why"]) == ("allow", "staff")
        assert {"kind": "limit", "of": "person", "answer": f"{number} of 2 connections"} in found["steps"]
        assert {"kind": "address", "of": "127.0.0.1", "answer": "allow staff"} in found["steps"]
        held.enter_context(open_one(started, echo, b"alice"))
    said = ctl(tmp_path, *words, "--user", "alice", status=1).out
    assert b"  limit    person     2 of 2 connections: full\n" in said
    assert said.endswith(b"decision: deny @limit\n")
    assert ctl(tmp_path, *words, "--user", "alice", "--groups", "guests", status=1).out.endswith(b"deny\n")
    assert ctl(tmp_path, *words, "--user", "bob", status=1).out.endswith(b"decision: deny\n")
    gone = (*words[:-1], "no-such-name.invalid:80", "--user", "alice")
    assert ctl(tmp_path, *gone, status=1).out.endswith(b"decision: deny dns-failed\n")
    for wrong, status, why in (
        (("-c", "x"), 2, b"leave out one of them"),
        (("--groups", "a b"), 2, b"--groups: write at most"),
        (("--listen", "lan"), 1, b"there is no listener"),
    ):
        assert why in ctl(tmp_path, *words, *wrong, status=status).err
