"""A start that is disturbed: told to end before anybody serves, or hindered by what the machine has."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually
from tests.system.server import PROGRAM, ROOT, Server, command, started

# A server whose children never say that they are ready.
NEVER_READY = """
import sys
from forksocks import cli
from forksocks.host import control
send = control.send
control.send = lambda line, word, *words, **named: word == "ready" or send(line, word, *words, **named)
sys.exit(cli.main())
"""
# A link-local address in a network of its own; what follows becomes the server.
LINK_LOCAL = 'ip link set lo up && ip address add fe80::7/64 dev lo nodad && exec "$@"'
EXCHANGE = """
import socket, sys
with socket.create_connection(("fe80::7%lo", int(sys.argv[1]))) as client:
    client.sendall(bytes((5, 1, 0)))
    print(client.recv(2).hex())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_told_to_end_before_anybody_is_ready(number: int) -> None:
    words = command(["--workers", "3", "-v"], ["127.0.0.1:0"])
    script = [sys.executable, "-c", NEVER_READY, *words[words.index(PROGRAM) + 1 :]]
    with Server(script) as server:
        assert eventually(lambda: len(processes.workers(server.supervisor)) == 3)
        server.stop(number)
        server.wait_for("stopped")


def test_reloads_do_not_wait_for_a_fifo(server: Start, tmp_path: Path) -> None:
    started = server(config='[[listen]]\nbind = ["127.0.0.1:0"]\n')
    config = tmp_path / "forksocks.toml"
    config.unlink()
    os.mkfifo(config)
    started.send_signal(signal.SIGHUP)
    assert "it is a pipe" in started.wait_for("reload-refused")["error"]


def test_a_link_local_address_is_listened_on_with_its_interface() -> None:
    inside = ["unshare", "-rn", "--", "sh", "-c", LINK_LOCAL, "sh"]
    with started(command([], ["[fe80::7%lo]:0", "[fe80::7%1]:0"], inside=inside)) as server:
        port = server.endpoint[1]
        assert server.addresses[0] == f"[fe80::7%lo]:{port}"
        enter = ["nsenter", "-t", str(server.supervisor), "-U", "-n", "--preserve-credentials"]
        asked = [*enter, sys.executable, "-c", EXCHANGE, str(port)]
        assert (
            subprocess.run(asked, capture_output=True, text=True, timeout=LONG, check=True).stdout == "0500\n"
        )
        server.send_signal(signal.SIGUSR2)
        server.wait_for("upgraded")
        server.wait_for("started", listen=",".join(server.addresses))


@pytest.mark.parametrize(("limit", "workers"), [(64, 1), (64, 4), (32, 1)])
def test_too_few_descriptors_are_one_error(limit: int, workers: int) -> None:
    few = ["sh", "-c", f'ulimit -n {limit} && exec "$@"', "sh"]
    words = command(["--workers", str(workers)], ["127.0.0.1:0"], inside=few)
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=LONG, check=False)
    told = f"{workers} workers on 1 addresses need [0-9]+ descriptors, and the limit is {limit}: raise it"
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert re.search(told, done.stderr)


def test_a_few_descriptors_are_used(server: Start, echo: Origin) -> None:
    few = ["sh", "-c", 'ulimit -n 116 && exec "$@"', "sh"]
    started = server("--workers", "2", inside=few)
    assert started.wait_for("started")["threads"] == "17"
    with contextlib.ExitStack() as stack:
        for client in [stack.enter_context(Client(started.endpoint)) for _ in range(24)]:
            client.open(echo.host, echo.port)
            assert client.exchange(b"hello") == b"hello"
    assert not started.events("crash")
