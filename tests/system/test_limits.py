"""Limits hold over all workers of a running server, and a killed worker's share is given back."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest

from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.server import Server

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
