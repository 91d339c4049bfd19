"""Processes that are killed, one by one: what goes on, what is replaced, and what nobody notices."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually
from tests.system.server import Server, command, started

PATIENT = """
[server]
workers = 2
drain = "5s"
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[timeouts]
handshake = "2m"
resolve = "2m"
[log]
level = "debug"
"""
UNIX = """
[[listen]]
bind = ["unix:{listen}"]
[access]
allow_to = ["@loopback"]
[admin]
socket = "{admin}"
"""


def worker_of(server: Server, client: Client) -> int:
    """Which worker serves a client whose request is logged (-vv)."""
    host, port = client.sock.getsockname()
    line = server.wait_for("request", client=f"{host}:{port}")
    return int(line["id"].partition("-")[0].removeprefix("w"))


def is_carried(client: Client) -> bool:
    """Whether a tunnel to an echo still works."""
    try:
        return client.exchange(b"still there?") == b"still there?"
    except (ConnectionError, EOFError):
        return False


def refuses(server: Server) -> bool:
    """Whether nobody listens any more."""
    with contextlib.suppress(ConnectionResetError), socket.socket() as sock:
        sock.settimeout(LONG)
        return bool(sock.connect_ex(server.endpoint))
    return False


class TestWorker:
    def test_killed_it_is_replaced_at_once_and_the_others_tunnels_go_on(
        self, server: Start, echo: Origin
    ) -> None:
        running = server("-vv")
        with contextlib.ExitStack() as stack:
            clients: dict[int, list[Client]] = {1: [], 2: []}
            while min(map(len, clients.values())) < 3:
                client = stack.enter_context(Client(running.endpoint))
                client.open(echo.host, echo.port)
                clients[worker_of(running, client)].append(client)
            before = running.workers
            os.kill(before[0], signal.SIGKILL)
            died = running.wait_for("child-died", child="worker 1")
            assert (died["pid"], died["how"], died["pause"]) == (str(before[0]), "killed by SIGKILL", "0ms")
            after = running.wait_for_workers(2)
            assert after[1] == before[1]
            assert after[0] != before[0]
            assert not any(map(is_carried, clients[1]))
            assert all(map(is_carried, clients[2]))
            for _ in range(10):
                with Client(running.endpoint) as client:
                    client.open(echo.host, echo.port)
                    assert is_carried(client)

    def test_killed_while_it_drains_it_is_told_with_what_it_took_along(
        self, server: Start, echo: Origin
    ) -> None:
        running = server()
        with Client(running.endpoint) as client:
            client.open(echo.host, echo.port)
            old = running.workers
            running.send_signal(signal.SIGHUP)
            running.wait_for("reloaded")
            assert eventually(lambda: len(set(old) & set(running.pids)) == 1)
            (draining,) = set(old) & set(running.pids)
            os.kill(draining, signal.SIGKILL)
            died = running.wait_for("child-died", pid=draining)
            assert (died["how"], died["sessions"]) == ("killed by SIGKILL", "1")
        assert len(running.events("child-died")) == 1, "who ends as it was told is not told"

    def test_killed_it_leaves_its_queue_to_its_successor(self, server: Start, echo: Origin) -> None:
        running = server("--workers", "1", "--threads", "4")
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                stack.enter_context(Client(running.endpoint)).open(echo.host, echo.port)
            waiting = [stack.enter_context(Client(running.endpoint)) for _ in range(2)]
            for client in waiting:
                client.sock.sendall(b"\5\1\0")
            os.kill(running.workers[0], signal.SIGKILL)
            for client in waiting:
                assert client.exactly(2) == b"\5\0"
                assert client.request(echo.host, echo.port).code == 0
                assert is_carried(client)

    def test_that_keeps_dying_is_started_after_growing_pauses(self, server: Start, echo: Origin) -> None:
        running = server()
        killed: list[int] = []

        def kill_the_next() -> int | None:
            for pid in running.workers[:1] if len(running.workers) == 2 else ():
                if pid not in killed:
                    killed.append(pid)
                    os.kill(pid, signal.SIGKILL)
                    return pid
            return None

        for _ in range(3):
            pid = eventually(kill_the_next)
            running.wait_for("child-died", pid=pid)
            with Client(running.endpoint) as client:  # the other one serves all the while
                client.open(echo.host, echo.port)
                assert is_carried(client)
        pauses = [line["pause"] for line in running.events("child-died", child="worker 1")]
        assert pauses == ["0ms", "1s", "2s"]
        running.wait_for_workers(2)


class TestLookup:
    def test_killed_in_the_middle_of_questions_it_costs_a_delay(self, server: Start, echo: Origin) -> None:
        running = server(config=PATIENT)
        agent = running.lookup
        assert agent
        os.kill(agent, signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(running.endpoint)) for _ in range(6)]
            for client in clients:
                client.greet()
                client.sock.sendall(b"\5\1\0\3\x09localhost" + echo.port.to_bytes(2, "big"))
            for client in clients:
                worker_of(running, client)  # which has asked by now, or is about to
            os.kill(agent, signal.SIGKILL)
            for client in clients:
                assert client.read_reply().code == 0
                assert is_carried(client)
        running.wait_for("child-died", child="lookup", pid=agent)
        assert running.lookup not in (agent, None)

    def test_after_both_it_and_the_supervisor_a_name_is_answered_with_a_failure(self, echo: Origin) -> None:
        with started(command()) as running, Client(running.endpoint) as client:
            client.greet()
            agent, workers = running.lookup, running.workers
            assert agent
            os.kill(running.supervisor, signal.SIGKILL)
            os.kill(agent, signal.SIGKILL)
            assert eventually(lambda: not processes.is_alive(agent))
            assert client.request("localhost", echo.port).code == 4
            assert eventually(lambda: not any(map(processes.is_alive, workers)))


class TestSupervisor:
    def test_killed_its_workers_finish_what_they_carry_and_end(self, echo: Origin) -> None:
        with started(command(["--drain", "2m"])) as running, Client(running.endpoint) as client:
            client.open(echo.host, echo.port)
            pids = running.pids
            os.kill(running.supervisor, signal.SIGKILL)
            assert eventually(lambda: refuses(running))
            with socket.socket() as successor:  # beside the tunnel; nobody else listens, or it would need
                successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # SO_REUSEPORT
                successor.bind(running.endpoint)
                successor.listen()
            assert is_carried(client)
            client.sock.close()
            assert eventually(lambda: not any(map(processes.is_alive, pids)))
            assert running.wait_for("end", cause="client-closed")

    def test_killed_its_unix_sockets_come_free_for_the_next_start(self, tmp_path: Path, echo: Origin) -> None:
        path, config = tmp_path / "clients", tmp_path / "config"
        config.write_text(UNIX.format(listen=path, admin=tmp_path / "admin"))
        with started(command(["--drain", "2m"], config=config)) as running, Client(str(path)) as client:
            client.open(echo.host, echo.port)
            os.kill(running.supervisor, signal.SIGKILL)
            running.process.wait()
            # Its workers may still wait in accept(2) for a moment.
            with started(command(config=config)) as successor, Client(str(path)) as new:
                new.open(echo.host, echo.port)
                assert is_carried(new)
                assert is_carried(client)
                new.sock.close()
                successor.stop()

    def test_killed_while_it_drains_nobody_is_left(self, echo: Origin) -> None:
        with started(command(["--drain", "2s"])) as running, Client(running.endpoint) as client:
            client.open(echo.host, echo.port)
            pids = running.pids
            running.send_signal(signal.SIGTERM)
            running.wait_for("stopping")
            os.kill(running.supervisor, signal.SIGKILL)
            assert eventually(lambda: not any(map(processes.is_alive, pids)))
            assert not is_carried(client)


class TestEnding:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_tunnels_may_finish(self, server: Start, echo: Origin, number: int) -> None:
        running = server("--drain", "5m")
        with Client(running.endpoint) as client, Client(running.endpoint) as undecided:
            client.open(echo.host, echo.port)
            undecided.greet()
            running.send_signal(number)
            assert eventually(lambda: refuses(running))
            assert is_carried(client)
            undecided.request(echo.host, echo.port)  # who is in may still ask
            assert is_carried(undecided)
        assert running.process.wait(LONG) == 0
        assert [line["drain"] for line in running.events("stopping")] == ["300s"]
        running.wait_for("stopped")

    def test_after_the_drain_time_they_are_reset(self, server: Start, echo: Origin) -> None:
        running = server("--drain", "1s")
        with Client(running.endpoint) as client:
            client.open(echo.host, echo.port)
            running.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionResetError):
                client.sock.recv(1)
        assert running.process.wait(LONG) == 0
        running.wait_for("end", cause="drained")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_second_signal_ends_it_at_once(self, server: Start, echo: Origin, number: int) -> None:
        running = server("--drain", "5m")
        with Client(running.endpoint) as client:
            client.open(echo.host, echo.port)
            running.send_signal(number)
            running.wait_for("stopping")
            assert is_carried(client)
            running.send_signal(number)
            with pytest.raises(ConnectionResetError):
                client.sock.recv(1)
        assert running.process.wait(LONG) == 0
        running.wait_for("end", cause="drained")

    def test_sigquit_ends_it_at_once(self, server: Start, echo: Origin) -> None:
        running = server("--drain", "5m")
        with Client(running.endpoint) as client:
            client.open(echo.host, echo.port)
            running.send_signal(signal.SIGQUIT)
            with pytest.raises(ConnectionResetError):
                client.sock.recv(1)
        assert running.process.wait(LONG) == 0

    def test_stopped_workers_do_not_keep_it(self) -> None:
        with started(command(["--drain", "0s"])) as running:
            for pid in running.workers:
                os.kill(pid, signal.SIGSTOP)
            running.send_signal(signal.SIGTERM)
            assert running.process.wait(LONG) == 0
            assert eventually(lambda: not running.left())


class TestBinding:
    def start(self, *listen: str) -> tuple[int, str]:
        words = command((), listen)
        # A session of its own, so that whatever it leaves behind could be found.
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
            _, said = process.communicate(timeout=LONG)
            assert not Server.left(self.as_server(process))
        return process.returncode, said

    @staticmethod
    def as_server(process: subprocess.Popen[str]) -> Server:
        server = Server.__new__(Server)
        server.process = process  # type: ignore[assignment]
        return server

    def test_an_address_in_use_is_named_and_the_others_are_given_back(self) -> None:
        with socket.socket() as taken, socket.socket() as free:
            for sock in (taken, free):
                sock.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            other = free.getsockname()
            free.close()
            status, said = self.start(f"127.0.0.1:{other[1]}", address)
        assert status == 1
        assert said == f"forksocks: cannot listen on {address}: the address is in use by another process\n"
        with socket.socket() as again:
            again.bind(other)

    def test_an_address_that_is_not_ours_is_named(self) -> None:
        status, said = self.start("192.0.2.1:1080")
        assert status == 1
        assert said == "forksocks: cannot listen on 192.0.2.1:1080: this machine has no such address\n"


def test_titles_tell_who_each_process_is(server: Start, echo: Origin) -> None:
    running = server("--threads", "50", listen=("127.0.0.1:0", "[::1]:0"))
    listen = " ".join(running.addresses)
    assert processes.title(running.supervisor).startswith(f"forksocks: supervisor [{listen}")
    assert running.lookup
    assert processes.title(running.lookup) == "forksocks: lookup"

    def carried() -> list[int]:
        titles = [processes.title(pid) for pid in running.workers]
        found = [re.fullmatch(r"forksocks: worker \d \[.*?(\d+)/50 connections\]", title) for title in titles]
        return [int(match[1]) for match in found if match]

    assert carried() == [0, 0]
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(Client(running.endpoint)).open(echo.host, echo.port)
        assert eventually(lambda: sum(carried()) == 5)
    assert eventually(lambda: carried() == [0, 0])
