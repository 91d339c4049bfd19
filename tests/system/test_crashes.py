"""What a bug can do to a worker: the process is gone, or only the thread that met it."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually

# Found by the interpreter of the server: a client whose first bytes are these makes its thread do that.
SITECUSTOMIZE = """
import ctypes
import os
import socket
from forksocks.process import worker

def out_of_memory():
    raise MemoryError

def leave():
    raise SystemExit(3)

BUGS = {
    b"SEGV": lambda: ctypes.string_at(0),
    b"EXIT": lambda: os._exit(3),
    b"MEMO": out_of_memory,
    b"LEAV": leave,
}
serve = worker.Worker._serve

def serve_or_meet_a_bug(self, index, sock, address):
    BUGS.get(sock.recv(4, socket.MSG_PEEK), lambda: None)()
    serve(self, index, sock, address)

worker.Worker._serve = serve_or_meet_a_bug
"""


@pytest.fixture(autouse=True)
def bugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def meet(address: tuple[str, int], bug: bytes) -> None:
    """Come as the client that meets this bug, until its connection has ended."""
    with socket.create_connection(address, 60) as client, contextlib.suppress(ConnectionResetError):
        client.sendall(bug)
        assert client.recv(1) == b""


def carries(client: Client) -> bool:
    try:
        return client.exchange(b"still there?") == b"still there?"
    except (EOFError, OSError):
        return False


@pytest.mark.parametrize(("bug", "how"), [(b"SEGV", "killed by SIGSEGV"), (b"EXIT", "exit status 3")])
def test_a_worker_that_dies_of_it_is_replaced_and_takes_no_other_along(
    server: Start, echo: Origin, bug: bytes, how: str
) -> None:
    started = server()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(started.endpoint)) for _ in range(16)]
        for client in clients:
            client.open(echo.host, echo.port)
        before = started.workers
        meet(started.endpoint, bug)
        died = started.wait_for("child-died")
        assert died["how"] == how
        after = started.wait_for_workers(2, without=[int(died["pid"])])
        assert len(set(before) & set(after)) == 1
        assert sum(map(carries, clients)) == 16 - int(died["sessions"])
    for _ in range(4):
        with Client(started.endpoint) as client:
            client.open(echo.host, echo.port)
            assert carries(client)
    if bug == b"SEGV":
        started.wait_for_log(r" last-words .*sitecustomize.py")


@pytest.mark.parametrize("bug", [b"MEMO", b"LEAV"])
def test_a_thread_that_meets_it_serves_the_next_client(server: Start, echo: Origin, bug: bytes) -> None:
    started = server("--workers", "1", "--threads", "2")
    started.bugs = {"SystemExit"}
    before = started.workers
    for _ in range(4):
        meet(started.endpoint, bug)
    with Client(started.endpoint) as one, Client(started.endpoint) as another:
        for client in (one, another):
            client.open(echo.host, echo.port)
            assert carries(client)
    assert started.workers == before
    if bug == b"LEAV":
        assert eventually(lambda: len(started.events("crash", error="SystemExit")) == 4)
