"""Every thread serves and clients still come: they wait, waiting costs nothing, all are served."""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system import processes
from tests.system.client import Client, greeting
from tests.system.conftest import Start
from tests.system.load import knocking
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import run
from tests.system.server import ROOT, Server

WORKERS, THREADS = 2, 8
CAP = WORKERS * THREADS
CROWD = 40  # clients that come at once, each in its own thread
WAITING = 300
CONFIG = f"""
[server]
workers = {WORKERS}
threads = {THREADS}
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[log]
level = "info"
[admin]
socket = "{{folder}}/admin.sock"
"""


class Full:
    """A server all of whose threads carry a tunnel, and what it says about itself."""

    def __init__(self, server: Server, echo: Origin, socket: Path, stack: contextlib.ExitStack) -> None:
        self.server = server
        self.echo = echo
        self._socket = socket
        self._stack = stack
        self.tunnels = [self.client() for _ in range(CAP)]
        for client in self.tunnels:
            client.open(echo.host, echo.port)

    def client(self) -> Client:
        """One more connection."""
        return self._stack.enter_context(Client(self.server.endpoint))

    def wait_in_line(self, number: int) -> list[Client]:
        """Connections that have greeted, and that nobody accepts."""
        clients = [self.client() for _ in range(number)]
        for client in clients:
            client.sock.sendall(greeting())
        return clients

    def status(self, *words: str) -> str:
        """What `forksocksctl status` prints."""
        command = (sys.executable, "-m", "forksocks.ctl", "status", *words, "--socket", str(self._socket))
        return run(*command, cwd=ROOT).out.decode()

    def totals(self) -> dict[str, Any]:
        """Its counters."""
        found: dict[str, Any] = json.loads(self.status("--json"))["totals"]
        return found


@pytest.fixture
def full(server: Start, echo: Origin, tmp_path: Path) -> Iterator[Full]:
    started = server(config=CONFIG.format(folder=tmp_path))
    with contextlib.ExitStack() as stack:
        yield Full(started, echo, tmp_path / "admin.sock", stack)


def test_whoever_waits_is_served_when_threads_come_free(full: Full) -> None:
    with knocking(full.server.endpoint, full.echo, threads=CROWD) as load:
        assert eventually(lambda: len(full.server.events("short", of="threads")) == WORKERS)
        assert full.tunnels[0].exchange(b"still here") == b"still here"
        assert (load.served, load.failed) == (0, 0)
        for tunnel in full.tunnels[:3]:  # few come free, and then all at once
            tunnel.sock.close()
        load.wait_for(2 * CROWD)
        for tunnel in full.tunnels[3:]:
            tunnel.sock.close()
        load.wait_for(2 * CROWD)
    assert load.failed == 0, load.failures
    assert eventually(lambda: set(full.totals()["ends"]) == {"client-closed"})


def test_waiting_costs_neither_time_nor_memory(full: Full) -> None:
    pids = full.server.pids
    full.wait_in_line(10)
    assert eventually(lambda: full.server.events("short", of="threads"))
    memory, spent = sum(map(processes.pss, pids)), sum(map(processes.cpu, pids))
    full.wait_in_line(WAITING)
    time.sleep(1.0)  # nothing is to happen: nobody may look again and again for a thread
    assert sum(map(processes.cpu, pids)) - spent < 0.5
    assert sum(map(processes.pss, pids)) - memory < 1 << 20
    assert [processes.threads(pid) for pid in full.server.workers] == [
        processes.threads(full.server.workers[0])
    ] * WORKERS


def test_each_worker_says_so_once_and_counts_it(full: Full) -> None:
    before = full.totals()
    assert eventually(lambda: len(full.server.events("short", of="threads")) == WORKERS)
    for _ in range(20):  # full no more, and full again
        full.tunnels.pop().sock.close()
        full.tunnels.append(full.client())
        full.tunnels[-1].open(full.echo.host, full.echo.port)
    assert eventually(lambda: full.totals()["full"] >= before["full"] + 20)
    assert full.totals()["full_seconds"] > before["full_seconds"]
    assert re.search(r"^full +\d+ times, \S+ in all$", full.status(), re.M)
    lines = full.server.events("short")
    assert [(line["of"], line["busy"]) for line in lines] == [("threads", str(THREADS))] * WORKERS
