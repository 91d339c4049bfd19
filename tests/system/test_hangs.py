"""A process that has stopped to run is found out, says where if it can, and is replaced; nobody else is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.load import knocking
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import Server

HANG = 3.0
CONFIG = f"""
[server]
workers = 2
hang = "{HANG:.0f}s"
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[log]
level = "info"
"""
# Found by the interpreter of the server: a client that says HOLD makes its thread keep the interpreter to
# itself, as a faulty C function does; one that says LOCK takes a lock for good that the main thread needs.
SITECUSTOMIZE = """
import ctypes
import socket
import threading
from forksocks.process import worker

interpreter = ctypes.PyDLL(None)
lock = threading.Lock()
serve, beat = worker.Worker._serve, worker.Worker._beat

def serve_or_hold(self, index, sock, address):
    word = sock.recv(4, socket.MSG_PEEK)
    if word == b"HOLD":
        interpreter.sleep(600)
    elif word == b"LOCK":
        lock.acquire()
    serve(self, index, sock, address)

def beat_under_lock(self):
    with lock:
        beat(self)

worker.Worker._serve = serve_or_hold
worker.Worker._beat = beat_under_lock
"""


def is_served(server: Server, echo: Origin) -> bool:
    with Client(server.endpoint) as client:
        client.open(echo.host, echo.port)
        return client.exchange(b"hello") == b"hello"


def lives(client: Client) -> bool:
    try:
        return client.exchange(b"still there?") == b"still there?"
    except (EOFError, OSError):
        return False


@pytest.mark.parametrize("role", ["worker 1", "lookup"])
def test_a_stopped_process_is_killed_and_replaced_and_the_others_carry_on(
    server: Start, echo: Origin, role: str
) -> None:
    started = server(config=CONFIG)
    pid = started.lookup if role == "lookup" else started.workers[0]
    assert pid
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(started.endpoint)) for _ in range(16)]
        for client in clients:
            client.open(echo.host, echo.port)
        os.kill(pid, signal.SIGSTOP)
        hung = started.wait_for("child-hung", child=role)
        assert (hung["pid"], hung["state"]) == (str(pid), "stopped")
        died = started.wait_for("child-died", child=role)
        assert died["how"] in ("killed by SIGKILL", "killed by SIGABRT")
        started.wait_for_workers(2)
        assert eventually(lambda: started.lookup)
        assert pid not in started.pids
        assert is_served(started, echo)
        cut = {end["client"] for end in started.events("end", cause="worker-crash")}
        assert len(cut) == int(died["sessions"])
        for client in clients:
            host, port = client.sock.getsockname()
            assert lives(client) is (f"{host}:{port}" not in cut)
    assert [each["child"] for each in started.events("child-died")] == [role]


@pytest.mark.parametrize(
    ("word", "where"),
    [(b"HOLD", "serve_or_hold"), (b"LOCK", "beat_under_lock")],
    ids=["interpreter", "deadlock"],
)
def test_where_it_hangs_is_told_and_its_worker_replaced(
    server: Start, echo: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: bytes, where: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = server(config=CONFIG)
    with socket.create_connection(started.endpoint) as client:
        client.sendall(word)
        hung = started.wait_for("child-hung")
        died = started.wait_for("child-died", child=hung["child"])
        assert (died["pid"], died["how"]) == (hung["pid"], "killed by SIGABRT")
        started.wait_for_log(r" last-words .*sitecustomize.py.*line \d+ in " + where)
    started.wait_for_workers(2)
    assert is_served(started, echo)


def test_a_silent_worker_whose_sessions_go_on_is_left_alone_as_long_as_they_do(
    server: Start, echo: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = server(config=CONFIG)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(started.endpoint)) for _ in range(16)]
        for client in clients:
            client.open(echo.host, echo.port)
        stack.enter_context(socket.create_connection(started.endpoint)).sendall(b"LOCK")
        until = time.monotonic() + HANG * 2
        while time.monotonic() < until:  # the time itself is what is tested
            assert all(map(lives, clients))
        assert not started.events("child-hung")
        died = started.wait_for("child-died")
        assert died["how"] == "killed by SIGABRT"
        assert sum(map(lives, clients)) == len(clients) - int(died["sessions"])
    started.wait_for_workers(2)
    assert is_served(started, echo)


def test_a_supervisor_that_was_stopped_itself_blames_nobody(server: Start, echo: Origin) -> None:
    started = server(config=CONFIG)
    before = started.pids
    os.kill(started.supervisor, signal.SIGSTOP)
    time.sleep(HANG * 1.5)  # the time itself is what is tested
    os.kill(started.supervisor, signal.SIGCONT)
    os.kill(started.workers[0], signal.SIGKILL)
    started.wait_for("child-died", child="worker 1")
    started.wait_for_workers(2)
    assert is_served(started, echo)
    assert not started.events("child-hung")
    assert set(before) - set(started.pids) == {int(started.events("child-died")[0]["pid"])}


def test_busy_workers_on_a_loaded_machine_are_not_taken_for_hung_ones(server: Start, echo: Origin) -> None:
    """More programs than processors want to run, and the workers always have clients."""
    started = server(config=CONFIG)
    workers = started.workers
    with contextlib.ExitStack() as stack:
        for _ in range(2 * (os.cpu_count() or 1)):
            program = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(program.kill)
        load = stack.enter_context(knocking(started.endpoint, echo, threads=8))
        time.sleep(HANG * 2)  # the time itself is what is tested
        load.wait_for(100)
    assert load.failed == 0, load.failures
    assert not started.events("child-hung")
    assert started.workers == workers
