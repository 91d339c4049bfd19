"""Peers that are gone without a word: no FIN, no reset, no answer. Both ends of a tunnel end all the same.

The limits are those of the server, only that a minute passes in a second.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forksocks.host import kernel
from tests.system.client import Client
from tests.system.island import HOME_V4, NEXT_V4, Island
from tests.system.processes import LONG, eventually
from tests.system.server import Server, running
from tests.traffic.tunnels import stuff

# Found by the interpreter of the server.
FASTER = """
import socket
from forksocks.host import kernel
from forksocks.process import worker
from forksocks.traffic import relay

SHORTER = {socket.TCP_KEEPIDLE: 1, socket.TCP_KEEPINTVL: 1, socket.TCP_KEEPCNT: 1}
def shorter(options):
    return tuple(
        (level, name, SHORTER.get(name, value) if level == socket.IPPROTO_TCP else value)
        for level, name, value in options
    )
kernel._KEEPALIVE = shorter(kernel._KEEPALIVE)
kernel.VANISHED /= 60
relay.LASTING /= 60
worker.VANISHED_LOOK /= 60
"""
CONFIG = f"""
[server]
workers = 1
[[listen]]
bind = ["{HOME_V4}:0"]
[access]
open_proxy = true
[log]
level = "debug"
"""
ANYWHERE = "9.9.9.9"  # it vanishes when no route leads there any more
HERE = NEXT_V4  # which stays
ROUTE = "local 0.0.0.0/0 dev lo table main"


@pytest.fixture
def server(island: Island, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    (tmp_path / "sitecustomize.py").write_text(FASTER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = tmp_path / "forksocks.toml"
    config.write_text(CONFIG)
    with running(config=config, inside=island.home.enter) as started:
        yield started


@contextlib.contextmanager
def tunnel(
    island: Island, server: Server, source: str, target: str
) -> Iterator[tuple[Client, socket.socket]]:
    """A tunnel between two addresses out there: the client, and the target's end."""
    with (
        island.internet.listen(target) as listener,
        Client(island.internet.connect(*server.endpoint, source=source)) as client,
    ):
        client.open(target, listener.getsockname()[1])
        end, _ = listener.accept()
        with end:
            yield client, end


@contextlib.contextmanager
def vanished(island: Island) -> Iterator[None]:
    """Nothing reaches ANYWHERE, and nobody says so."""
    island.internet.ip(f"route del {ROUTE}")
    try:
        yield
    finally:
        island.internet.ip(f"route add {ROUTE}")


def ends(server: Server, *senders: socket.socket) -> dict[str, Any]:
    """Send a byte now and then until the session has ended; return how."""

    def ended() -> list[dict[str, Any]]:
        for sock in senders:
            with contextlib.suppress(OSError):  # it learns of the end by and by
                sock.send(b"x", socket.MSG_DONTWAIT)
        time.sleep(0.1)
        return server.events("end")

    (found,) = eventually(ended)
    return found


def nothing_is_left(island: Island) -> bool:
    """Whether the server's machine has no connection any more, and no half of one."""
    return not island.home.run("ss", "-tanH", "state", "connected", "exclude", "time-wait").strip()


def test_an_idle_client(island: Island, server: Server) -> None:
    with tunnel(island, server, ANYWHERE, HERE) as (_, end), vanished(island):
        assert ends(server)["cause"] == "client-reset"
        assert was_reset(end)
        assert eventually(lambda: nothing_is_left(island))


def test_an_idle_target(island: Island, server: Server) -> None:
    with tunnel(island, server, HERE, ANYWHERE) as (client, _), vanished(island):
        assert ends(server)["cause"] == "target-reset"
        assert was_reset(client.sock)
        assert eventually(lambda: nothing_is_left(island))


def test_a_client_that_is_sent_to(island: Island, server: Server) -> None:
    with tunnel(island, server, ANYWHERE, HERE) as (_, end), vanished(island):
        assert ends(server, end)["cause"] == "client-reset"
        assert eventually(lambda: nothing_is_left(island))


def test_a_target_that_is_sent_to_now_and_then(island: Island, server: Server) -> None:
    """Never so long silent that keepalive would begin, and never so much that a buffer is full."""
    with tunnel(island, server, HERE, ANYWHERE) as (client, _), vanished(island):
        assert ends(server, client.sock)["cause"] == "target-reset"
        assert eventually(lambda: nothing_is_left(island))


def test_a_client_in_the_middle_of_a_download(island: Island, server: Server) -> None:
    with tunnel(island, server, ANYWHERE, HERE) as (_, end), vanished(island):
        end.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                end.send(bytes(1 << 16))
        assert ends(server)["cause"] == "client-reset"
        assert was_reset(end)
        assert eventually(lambda: nothing_is_left(island))


def test_a_client_in_the_middle_of_its_handshake(island: Island, server: Server) -> None:
    with Client(island.internet.connect(*server.endpoint, source=ANYWHERE)) as client:
        client.greet()
        with vanished(island):
            assert server.wait_for("end")["cause"] in ("handshake-timeout", "abandoned")
            assert eventually(lambda: nothing_is_left(island))


def test_who_takes_nothing_for_a_while_is_still_there(island: Island, server: Server) -> None:
    """It answers all the while, only that there is no room (a window of zero): a film that is paused."""
    with tunnel(island, server, HERE, ANYWHERE) as (client, end):
        sent = stuff(end)
        time.sleep(5 * kernel.VANISHED / 60)  # nothing is to happen
        end.shutdown(socket.SHUT_WR)
        assert len(client.until_end()) == sent


def was_reset(sock: socket.socket) -> bool:
    sock.setblocking(True)
    sock.settimeout(LONG)
    with contextlib.suppress(ConnectionResetError):
        return sock.recv(1) == b"" and False
    return True
