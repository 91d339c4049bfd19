"""A worker that leaks is replaced before the kernel has to kill somebody; its tunnels are not cut."""

from __future__ import annotations

from pathlib import Path

from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually

LIMIT = 96 << 20
CONFIG = """
[server]
workers = 2
memory_limit = "96MiB"
drain = "60s"
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[log]
level = "info"
"""
# Found by the interpreter of the server: a client that says LEAK has its worker keep 1 MiB more every now and
# then, until it is beyond the limit.
SITECUSTOMIZE = """
import socket, threading, time
from forksocks.process import worker

kept, serve = [], worker.Worker._serve

def leak():
    for _ in range(120):
        kept.append(b"x" * (1 << 20))
        time.sleep(0.01)

def serve_and_leak(self, index, sock, address):
    if sock.recv(4, socket.MSG_PEEK) == b"LEAK":
        threading.Thread(target=leak, daemon=True).start()
    serve(self, index, sock, address)

worker.Worker._serve = serve_and_leak
"""


def test_a_worker_that_leaks_is_replaced_and_cuts_nobody(server: Start, echo: Origin, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    started = server(config=CONFIG, inside=["env", f"PYTHONPATH={tmp_path}"])
    before = started.workers
    tunnels = [Client(started.endpoint) for _ in range(8)]
    try:
        for tunnel in tunnels:
            tunnel.open(echo.host, echo.port)
        with Client(started.endpoint) as client:
            client.sock.sendall(b"LEAK")
        told = started.wait_for("worker-outgrown")
        assert int(told["pid"]) in before
        assert (int(told["memory"]) > LIMIT, told["limit"]) == (True, str(LIMIT))
        leaking = int(told["pid"])
        assert eventually(lambda: len([pid for pid in started.workers if pid != leaking]) == 2)
        assert all(tunnel.exchange(b"still here") == b"still here" for tunnel in tunnels)
        with Client(started.endpoint) as client:
            client.open(echo.host, echo.port)
            assert client.exchange(b"hello") == b"hello"
    finally:
        for tunnel in tunnels:
            tunnel.sock.close()
    assert eventually(lambda: not processes.is_alive(leaking))
    assert len(started.events("worker-outgrown")) == 1
    assert not started.events("child-died")
