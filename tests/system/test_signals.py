"""Every signal that the supervisor takes: one table, each alone, and a thousand of them in any order."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import random
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forksocks.access.hashes import Parameters, hashed
from forksocks.process import orders
from forksocks.process.children import NAME_CHANNELS
from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.installed import Installed
from tests.system.load import exchange, knocking, staying
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually
from tests.system.server import ROOT, command

SIGNALS = 1000
PAUSE = 0.01  # seconds between two of them
HARMLESS = (
    signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU,
    signal.SIGCHLD, signal.SIGCONT,
)  # fmt: skip


def test_the_table_is_the_one_that_users_read() -> None:
    text = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| (SIG[A-Z0-9]+) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [(number.name, meaning) for number, meaning in orders.MEANINGS.items()]


def test_every_signal_of_the_table_is_caught_and_no_other(server: Start) -> None:
    """As the kernel has it: SigCgt and SigIgn of proc_pid_status(5)."""
    caught, ignored = _dispositions(server().supervisor)
    assert caught - {signal.SIGCHLD} == set(orders.MEANINGS)
    assert not ignored - {signal.SIGPIPE, signal.SIGXFSZ}, "but for what Python ignores"


def _dispositions(pid: int) -> tuple[set[int], set[int]]:
    text = Path(f"/proc/{pid}/status").read_text()
    found = [re.findall(rf"^{name}:\s*([0-9a-f]+)", text, re.MULTILINE) for name in ("SigCgt", "SigIgn")]
    masks = [int(each[0], 16) for each in found]
    caught, ignored = ({number for number in range(1, 32) if mask >> (number - 1) & 1} for mask in masks)
    return caught, ignored


def test_a_worker_more_and_a_worker_less(server: Start, echo: Origin, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_bytes(b"alice:" + hashed(b"secret", Parameters(memory=8, passes=1, lanes=1)) + b"\n")
    users.chmod(0o600)
    started = server("--workers", "1", "--users", str(users))
    started.send_signal(signal.SIGTTIN)
    started.wait_for("workers-changed", workers=2)
    started.wait_for_workers(2)
    first, second = started.workers
    os.kill(first, signal.SIGSTOP)  # so that the new one has to do it all: passwords and names
    assert eventually(lambda: processes.is_stopped(first))
    with Client(started.endpoint) as client:
        client.open(b"localhost", echo.port, b"alice", b"secret")
        assert client.exchange(b"hello") == b"hello"
        os.kill(first, signal.SIGCONT)
        started.send_signal(signal.SIGTTOU)
        started.wait_for("workers-changed", workers=1)
        assert client.exchange(b"hello") == b"hello", "its tunnel takes the time that it needs"
        assert second in started.workers
    assert eventually(lambda: started.workers == [first])
    started.send_signal(signal.SIGTTOU)
    assert eventually(lambda: len(started.events("workers-changed")) == 3)
    assert started.workers == [first], "the last one stays"
    assert not started.events("child-died")


def test_the_lookup_agent_gives_back_what_it_had_for_a_worker_that_left(server: Start) -> None:
    started = server("--workers", "2")
    agent = started.lookup
    assert agent is not None

    def holds() -> tuple[int, int]:
        return processes.descriptors(agent), processes.threads(agent)

    before = holds()
    fewer = (before[0] - NAME_CHANNELS, before[1] - NAME_CHANNELS)
    for _ in range(2):
        started.send_signal(signal.SIGTTOU)
        assert eventually(lambda: holds() == fewer), (before, holds())
        started.send_signal(signal.SIGTTIN)
        assert eventually(lambda: holds() == before), (before, holds())


def test_a_worker_that_was_added_is_replaced_and_a_reload_counts_anew(server: Start) -> None:
    started = server()
    started.send_signal(signal.SIGTTIN)
    started.wait_for_workers(3)
    last = started.workers[-1]
    os.kill(last, signal.SIGKILL)
    started.wait_for_workers(3, without=[last])
    started.send_signal(signal.SIGHUP)
    started.wait_for("reloaded")
    started.wait_for_workers(2)


def test_without_workers_clients_wait_until_they_are_back(server: Start, echo: Origin) -> None:
    started = server()
    with staying(started.endpoint, echo) as tunnel:
        started.send_signal(signal.SIGWINCH)
        started.wait_for("standing-by", connections=1)
        assert eventually(lambda: len(started.workers) == 1), "the tunnel's"
        assert eventually(lambda: "draining" in processes.title(started.workers[0]))
        with Client(started.endpoint) as client:
            client.sock.sendall(b"\x05\x01\x00")
            started.send_signal(signal.SIGHUP)
            assert client.exactly(2) == b"\x05\x00"
        tunnel.check()
        assert len(started.workers) == 2


class Terminal:
    """A server in the foreground of a terminal of its own; what it writes is read here."""

    def __init__(self, log: Path | None = None, nohup: bool = False) -> None:
        starter = (
            "import fcntl, os, signal, sys, termios\n"
            "os.setsid()\n"
            "fcntl.ioctl(0, termios.TIOCSCTTY)\n"
            f"signal.signal(signal.SIGHUP, signal.SIG_IGN if {nohup} else signal.SIG_DFL)\n"
            "os.execv(sys.argv[1], sys.argv[1:])\n"
        )
        logged = []
        if log is not None:
            config = log.with_suffix(".toml")
            config.write_text(f'[log]\nto = "file:{log}"\n')
            logged = ["-c", str(config)]
        words = [sys.executable, "-c", starter, *command(["-v", *logged], ["127.0.0.1:0"])]
        self.ours, theirs = pty.openpty()
        self.process = subprocess.Popen(words, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self._text = ""

    def until(self, pattern: str) -> re.Match[str]:
        """Read on until `pattern` is found; what comes after it is for the next call."""
        while not (found := re.search(pattern, self._text)):
            self._text += os.read(self.ours, 4096).decode()
        self._text = self._text[found.end() :]
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """Close it, as its window or the network connection behind it is closed."""
        if self.ours >= 0:
            os.close(self.ours)
        self.ours = -1


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def test_on_a_terminal(terminal: Terminal, echo: Origin) -> None:
    port = int(terminal.until(r"started .*listen=127\.0\.0\.1:(\d+) ")[1])
    with Client(("127.0.0.1", port)) as client:
        client.open(echo.host, echo.port)
        for size in (b"\x30\x00\x60\x00", b"\x31\x00\x61\x00"):  # struct winsize: the kernel sends SIGWINCH
            fcntl.ioctl(terminal.ours, termios.TIOCSWINSZ, size + bytes(4))
        os.kill(terminal.process.pid, signal.SIGTTOU)
        os.write(terminal.ours, b"\x03")  # Ctrl-C
        found = terminal.until(
            r"waiting for (\d+) connection to finish; Ctrl-C again ends it now|standing-by|workers-changed"
        )
        assert found[1] == "1"
        assert client.exchange(b"hello") == b"hello"
        os.write(terminal.ours, b"\x03")
        assert terminal.process.wait(processes.LONG) == 0
        with pytest.raises(ConnectionResetError):
            client.exactly(1)


class Logged:
    """The log of a server whose terminal goes away."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def wait_for(self, pattern: str, times: int = 1) -> re.Match[str]:
        """The first of so many lines that have it."""
        found = eventually(lambda: self._found(pattern, times))
        assert found, self.file.read_text()
        return found

    def _found(self, pattern: str, times: int) -> re.Match[str] | None:
        found = list(re.finditer(pattern, self.file.read_text())) if self.file.exists() else []
        return found[0] if len(found) >= times else None


def test_a_terminal_that_is_closed_ends_its_server(tmp_path: Path, echo: Origin) -> None:
    log = Logged(tmp_path / "log")
    with contextlib.closing(Terminal(log.file)) as terminal:
        port = int(log.wait_for(r"started .*listen=127\.0\.0\.1:(\d+) ")[1])
        os.kill(terminal.process.pid, signal.SIGHUP)
        log.wait_for("reloaded")  # by kill(1), with the terminal alive
        with Client(("127.0.0.1", port)) as client:
            client.open(echo.host, echo.port)
            terminal.hang_up()
            log.wait_for("stopping")
            assert client.exchange(b"hello") == b"hello", "it drains"
        assert terminal.process.wait(LONG) == 0
        log.wait_for("stopped")


def test_a_server_that_outlives_its_terminal_is_reloaded(tmp_path: Path) -> None:
    log = Logged(tmp_path / "log")
    with contextlib.closing(Terminal(log.file, nohup=True)) as terminal:
        log.wait_for("started ")
        terminal.hang_up()  # and the kernel sends its SIGHUP
        log.wait_for("reloaded")
        os.kill(terminal.process.pid, signal.SIGHUP)
        log.wait_for("reloaded", times=2)
        os.kill(terminal.process.pid, signal.SIGTERM)
        assert terminal.process.wait(LONG) == 0


@pytest.mark.parametrize(("seconds", "is_it"), [(LONG, True), (0.0, False)])
def test_a_hangup_is_the_terminals_only_just_after_it_has_gone(
    seconds: float, is_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [True, False]
    monkeypatch.setattr(orders, "_has_terminal", lambda: there.pop(0))
    monkeypatch.setattr(orders, "HANGS_UP", seconds)
    terminal = orders.Terminal(outlives=False)
    terminal.look()  # it has gone, and no signal came of it
    assert terminal.has_hung_up() is is_it


def test_a_thousand_in_any_order(tmp_path: Path, echo: Origin) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    log = tmp_path / "log"
    config = tmp_path / "config"
    config.write_text(f'[log]\nto = "file:{log}"\n')
    flags = ["-c", str(config), "--drain", "10m"]
    with Installed.started(tmp_path, ["127.0.0.1:0"], flags, follow=log) as installed:
        server = installed.server
        with staying(server.endpoint, echo) as tunnel, knocking(server.endpoint, echo, threads=2) as load:
            for _ in range(SIGNALS):
                number = chance.choice(HARMLESS)
                print(f"{number.name}>{installed.pid}", end=" ")
                os.kill(installed.pid, number)
                time.sleep(PAUSE)
            os.kill(installed.pid, signal.SIGHUP)  # whatever came last, workers are wanted
            load.wait_for(100)
            tunnel.check()
        assert load.failed == 0, load.failures
        exchange(server.endpoint, echo)
        assert eventually(lambda: len(newest(installed.pid)) == 2), "as many as the file says"
        assert not server.events("crash")
        for pid in [each for each in (server.supervisor, *server.left()) if is_supervisor(each)]:
            os.kill(pid, signal.SIGTERM)
        assert eventually(lambda: not server.left())


def newest(supervisor: int) -> list[int]:
    """The workers of its newest generation."""
    found = processes.workers(supervisor)
    last = max((generation for generation, _ in found), default=0)
    return [pid for (generation, _), pid in found.items() if generation == last]


def is_supervisor(pid: int) -> bool:
    return processes.title(pid).startswith("forksocks: supervisor")
