"""The counters are exact over kill -9 under load, over reloads, and over the admin process's own death."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from forksocks.verbs.asking import ask
from tests.system import origins, processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
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
[admin]
socket = "{socket}"
"""
LARGEST_MOVE = (
    1024 * 1024
)  # bytes that one call can move; more than that is not on its way when a worker dies


class Asked:
    """A server with an admin socket."""

    def __init__(self, server: Start, folder: Path) -> None:
        self.socket = folder / "admin.sock"
        self.server: Server = server(config=CONFIG.format(socket=self.socket))

    def status(self) -> dict[str, Any]:
        return next(ask(self.socket, "status"))

    def moved(self) -> tuple[int, int, int]:
        """Sessions accepted, and the bytes of all of them up and down."""
        totals = self.status()["totals"]
        return totals["accepted"], totals["up"], totals["down"]

    def has_counted(self, sessions: int, sent: int) -> bool:
        """Wait until these sessions, and these bytes both ways, are counted."""
        return eventually(lambda: self.moved() == (sessions, sent, sent))

    def settled(self) -> dict[str, Any]:
        """The status when nothing is under way any more and everybody has been buried."""

        def ready() -> bool:
            status = self.status()
            return len(status["workers"]) == 3 and status["sessions"]["open"] == 0

        assert eventually(ready)
        return self.status()

    def serving(self) -> list[int]:
        return [worker["pid"] for worker in self.status()["workers"] if not worker["draining"]]

    def kill(self, chance: random.Random) -> None:
        """Kill a worker, and wait until it is booked and replaced."""
        pid = chance.choice(self.serving())
        os.kill(pid, signal.SIGKILL)
        self.server.wait_for("child-died", pid=pid)
        assert eventually(lambda: len(self.serving()) == 3)


def is_gone(pid: int) -> bool:
    return not processes.is_alive(pid)


def test_every_byte_of_quiet_tunnels_is_counted_once_whatever_dies(
    server: Start, echo: Origin, tmp_path: Path
) -> None:
    asked = Asked(server, tmp_path)
    chance = random.Random(4)
    sent = sessions = 0
    with contextlib.ExitStack() as stack:
        clients: list[Client] = []
        for death in range(6):
            for _ in range(12):
                client = stack.enter_context(Client(asked.server.endpoint))
                client.open(echo.host, echo.port)
                sessions += 1
                clients.append(client)
            for client in list(clients):
                data = chance.randbytes(chance.randrange(1, 50_000))
                try:
                    assert client.exchange(data) == data
                    sent += len(data)
                except (EOFError, OSError):  # its worker was killed before
                    clients.remove(client)
            for client in clients[::5]:
                client.sock.close()
                clients.remove(client)
            if death == 3:
                asked.server.send_signal(signal.SIGHUP)
                asked.server.wait_for("reloaded")
            # What a client has read may be uncounted for a moment more: bytes count once they have moved.
            assert asked.has_counted(sessions, sent)
            asked.kill(chance)
            assert asked.moved() == (sessions, sent, sent)
    status = asked.settled()
    ends = status["totals"]["ends"]
    assert sum(ends.values()) == status["totals"]["accepted"] == sessions
    died = asked.server.events("child-died")
    assert ends["worker-crash"] == sum(int(each["sessions"]) for each in died)
    assert status["deaths"] == {"killed by SIGKILL": 6}
    assert asked.server.wait_for("end", cause="worker-crash")["to"] == f"{echo.host}:{echo.port}"
    assert len(asked.server.events("end", cause="worker-crash")) == ends["worker-crash"]


def test_bytes_on_their_way_when_a_worker_is_killed_are_counted_to_the_last_move(
    server: Start, tmp_path: Path
) -> None:
    poured: Counter[int] = Counter()

    def pour(sock: socket.socket) -> None:
        for piece in origins.pattern(2**40):
            poured[sock.fileno()] += sock.send(piece)

    asked = Asked(server, tmp_path)
    received = [0] * 8
    with origins.serving(pour) as origin:

        def drink(number: int) -> None:
            with Client(asked.server.endpoint) as client, contextlib.suppress(EOFError, OSError):
                client.open(origin.host, origin.port)
                while data := client.sock.recv(origins.CHUNK):
                    received[number] += len(data)

        threads = [threading.Thread(target=drink, args=(number,)) for number in range(len(received))]
        for thread in threads:
            thread.start()
        assert eventually(lambda: all(received))
        for pid in asked.server.workers:
            os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        totals = asked.settled()["totals"]
    assert totals["accepted"] == totals["ends"]["worker-crash"] == len(received)
    assert sum(received) - LARGEST_MOVE * len(received) <= totals["down"] <= sum(poured.values())
    assert totals["down"] > LARGEST_MOVE


def test_the_admin_process_may_be_killed_at_any_time(server: Start, echo: Origin, tmp_path: Path) -> None:
    asked = Asked(server, tmp_path)
    with Client(asked.server.endpoint) as client:
        client.open(echo.host, echo.port)
        for _ in range(3):
            (pid,) = (pid for pid in asked.server.pids if "admin" in processes.title(pid))
            os.kill(pid, signal.SIGKILL)
            assert eventually(partial(is_gone, pid))
            status = asked.status()  # asked while nobody is there: it waits for the next one
            assert status["sessions"]["open"] == 1
            assert client.exchange(b"hello") == b"hello"
            assert status["totals"]["accepted"] == 1
    assert asked.settled()["totals"]["ends"] == {"client-closed": 1}


def test_the_sums_go_on_over_upgrades(server: Start, echo: Origin, tmp_path: Path) -> None:
    """Tunnels of three programs, one after the other: whatever any of them counts is in the last one's."""
    asked = Asked(server, tmp_path)
    started = asked.server
    moved = sessions = closed = 0
    pids = [started.supervisor]

    def are_right() -> bool:
        status = asked.status()
        totals = status["totals"]
        found = (totals["accepted"], totals["up"], totals["down"], sum(totals["ends"].values()))
        return status["pid"] == pids[-1] and found == (sessions, moved, moved, closed)

    try:
        with contextlib.ExitStack() as stack:
            clients: list[Client] = []
            for program in range(3):
                for _ in range(6):
                    clients.append(stack.enter_context(Client(started.endpoint)))
                    clients[-1].open(echo.host, echo.port)
                    sessions += 1
                for number, client in enumerate(clients):
                    data = bytes(1000 * program + number)
                    assert client.exchange(data) == data
                    moved += len(data)
                for client in clients[::3]:
                    client.sock.close()
                    clients.remove(client)
                    closed += 1
                assert eventually(are_right), (asked.status(), sessions, moved, closed)
                if program < 2:
                    os.kill(pids[-1], signal.SIGUSR2)
                    assert eventually(lambda: len(started.events("took-over")) == len(pids))
                    pids.append(int(started.events("took-over")[-1]["pid"]))
            status = asked.status()  # the tunnels of programs before are not this one's to list
            assert [row["sessions"] for row in status["listeners"]] == [status["sessions"]["open"]]
        closed = sessions
        assert eventually(are_right), (asked.status(), sessions, moved)
        assert eventually(lambda: not any(map(processes.is_alive, pids[:-1])))
        os.kill(asked.serving()[0], signal.SIGKILL)  # books are closed and published anew
        started.wait_for("child-died")
        assert eventually(are_right), (asked.status(), sessions, moved)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[-1], signal.SIGTERM)
    assert eventually(lambda: not started.left())


def test_the_middle_one_of_three_programs_waits_until_the_first_has_counted_its_last(
    server: Start, echo: Origin, tmp_path: Path
) -> None:
    asked = Asked(server, tmp_path)
    started = asked.server
    pids = [started.supervisor]

    def upgrade() -> None:
        os.kill(pids[-1], signal.SIGUSR2)
        assert eventually(lambda: len(started.events("took-over")) == len(pids))
        pids.append(int(started.events("took-over")[-1]["pid"]))

    try:
        with Client(started.endpoint) as client:
            client.open(echo.host, echo.port)
            upgrade()
            upgrade()  # the second program has carried nobody, and its workers end at once
            assert eventually(lambda: set(processes.children(pids[1])) <= {pids[2]})
            assert client.exchange(b"hello") == b"hello"

        def is_counted() -> bool:
            status = asked.status()
            totals = status["totals"]
            found = (totals["accepted"], sum(totals["ends"].values()), totals["up"])
            return status["pid"] == pids[-1] and found == (1, 1, 5)

        assert eventually(is_counted), asked.status()
        assert eventually(lambda: not any(map(processes.is_alive, pids[:-1])))
        assert is_counted()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[-1], signal.SIGTERM)
    assert eventually(lambda: not started.left())
