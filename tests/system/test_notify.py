"""What a service manager hears from a real server (sd_notify(3)), from its start to its end."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system import processes
from tests.system.client import Client
from tests.system.installed import SCRIPT, Installed
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import command, started

RELOAD = ["READY=1", "RELOADING=1", "READY=1"]


class Manager:
    """A service manager's notify socket: everything that was said, and by whom."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.said: list[tuple[int, str]] = []
        self._socket = sock

    def run(self) -> None:
        while True:
            data, ancillary, _, _ = self._socket.recvmsg(4096, 128)
            if data == b"end":
                return
            pid = int.from_bytes(ancillary[0][2][:4], "little")  # struct ucred of unix(7)
            self.said.append((pid, data.decode()))

    def moves(self) -> list[tuple[int, str]]:
        """Who said that it is ready, and who said which process is the service."""
        return [(pid, text) for pid, text in self.said if text.startswith(("READY=", "MAINPID="))]

    def lines(self, *names: str) -> list[str]:
        """The assignments to these variables, in their order."""
        every = [line for _, text in self.said for line in text.split("\n")]
        return [line for line in every if line.partition("=")[0] in names]


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        if request.param == "path":
            sock.bind(str(tmp_path / "notify"))
            name = str(tmp_path / "notify")
        else:
            sock.bind("")
            name = "@" + sock.getsockname()[1:].decode()
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        made = Manager(sock)
        thread = threading.Thread(target=made.run)
        thread.start()
        yield made
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
            ours.sendto(b"end", sock.getsockname())
        thread.join()


def test_a_server_s_life(manager: Manager, echo: Origin) -> None:
    with started(command(["--drain", "7s"])) as server:
        assert eventually(lambda: manager.lines("READY"))
        assert len(server.workers) == 2
        with Client(server.endpoint) as client:
            client.open(echo.host, echo.port)
            assert eventually(
                lambda: "STATUS=1 connections, 2 workers, generation 1" in manager.lines("STATUS")
            )
        server.send_signal(signal.SIGHUP)
        assert eventually(
            lambda: manager.lines("READY", "RELOADING") == ["READY=1", "RELOADING=1", "READY=1"]
        )
        server.wait_for("reloaded")  # logged before, but read by a thread of ours
        assert manager.lines("MONOTONIC_USEC")
        server.stop()
        assert manager.lines("STOPPING", "EXTEND_TIMEOUT_USEC") == [
            "STOPPING=1",
            "EXTEND_TIMEOUT_USEC=17000000",
        ]
        assert {pid for pid, _ in manager.said} == {server.supervisor}, "nobody but the main process speaks"


def test_ready_waits_for_every_worker(manager: Manager) -> None:
    """READY=1 is the last word of a start: whoever hears it finds every worker there."""
    seen: list[int] = []

    def look(server: Callable[[], list[int]]) -> bool:
        if not manager.lines("READY"):
            return False
        seen.extend(server())
        return True

    with started(command(["--workers", "3"])) as server:
        assert eventually(lambda: look(lambda: server.workers))
        assert len(seen) == 3
        server.stop()


def test_a_refused_reload_ends_the_waiting_too(manager: Manager, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("")
    with started(command(["-c", str(config)])) as server:
        config.write_text("[")
        server.send_signal(signal.SIGHUP)
        server.wait_for("reload-refused")
        assert eventually(
            lambda: manager.lines("READY", "RELOADING") == ["READY=1", "RELOADING=1", "READY=1"]
        )
        server.stop()


def test_signs_of_life(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with started(command()) as server:
        assert eventually(lambda: len(manager.lines("WATCHDOG")) > 10)
        os.kill(server.supervisor, signal.SIGSTOP)
        assert eventually(lambda: processes.is_stopped(server.supervisor))
        silent = len(manager.said)
        assert not eventually(lambda: len(manager.said) > silent + 1, 1.0), "nobody else speaks for it"
        os.kill(server.supervisor, signal.SIGCONT)
        assert eventually(lambda: len(manager.said) > silent + 5)
        server.stop()


def test_it_is_the_service_again_when_the_new_program_breaks_down(
    manager: Manager, echo: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with started(command(["--drain", "2m"])) as server, Client(server.endpoint) as client:
        client.open(echo.host, echo.port)  # so that it stays for a while
        server.send_signal(signal.SIGUSR2)
        new = int(server.wait_for("took-over")["pid"])
        assert eventually(lambda: (new, "WATCHDOG=1") in manager.said)
        os.kill(new, signal.SIGKILL)
        old = server.supervisor
        came_back = [(old, f"MAINPID={old}"), (old, "READY=1")]
        assert eventually(lambda: manager.moves()[-2:] == came_back)
        signs = manager.said.count((old, "WATCHDOG=1"))
        assert eventually(lambda: manager.said.count((old, "WATCHDOG=1")) > signs)
        client.sock.close()
        server.stop()


def test_an_heir_that_serves_nobody_yet_is_not_ready(manager: Manager, tmp_path: Path) -> None:
    """The old program is killed during the upgrade."""
    with Installed.started(tmp_path, ["127.0.0.1:0"]) as installed:
        gate = tmp_path / "gate"
        os.mkfifo(gate)
        waits = f"import sys\nopen({str(gate)!r}).close()\n"
        installed.install("2", SCRIPT.replace("import sys\n", waits))
        old = installed.pid
        os.kill(old, signal.SIGUSR2)
        new = int(installed.server.wait_for("upgrading")["pid"])
        os.kill(old, signal.SIGKILL)
        gate.write_text("")
        installed.server.wait_for("started", version="2")
        installed.stop(new)
        assert eventually(lambda: (new, "STOPPING") in [(pid, text[:8]) for pid, text in manager.said])
        assert manager.said.count((new, "READY=1")) == 1, "once its workers serve, and no sooner"


def test_an_upgrade_moves_the_service(manager: Manager, echo: Origin) -> None:
    with started(command()) as server:
        server.send_signal(signal.SIGUSR2)
        new = int(server.wait_for("took-over")["pid"])
        assert eventually(lambda: (new, "READY=1") in manager.said)
        said = [(pid, text) for pid, text in manager.said if not text.startswith("STATUS")]
        assert said == [
            (server.supervisor, "READY=1"),
            (server.supervisor, f"MAINPID={new}"),
            (new, "READY=1"),
        ]
        os.kill(new, signal.SIGTERM)
        assert eventually(lambda: not server.left())
        assert (new, "STOPPING") in [(pid, text.partition("=")[0]) for pid, text in manager.said]
