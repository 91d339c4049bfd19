"""What nobody gets out of BIND; from an island whose internet answers as anyone."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.addresses import REFUSED
from tests.attacks.clients import connect
from tests.system.client import BIND, PATIENCE, Client, Reply
from tests.system.island import HOME_V4, HOME_V6, NEXT_V4, NEXT_V6, Island
from tests.system.processes import descriptors, eventually
from tests.system.server import Server, running

CONFIG = """
[server]
workers = 1
drain = "1s"
[[listen]]
name = "named"
bind = ["127.0.0.1:0"]
commands = ["bind"]
[[listen]]
name = "anyone"
bind = ["127.0.0.1:0"]
commands = ["bind"]
bind_command = { any_peer = true }
[log]
level = "info"
"""
MOST_STRANGERS = 16
MOST_WAITS = 4  # of one client
NAMED, ANYONE = 0, 1


@pytest.fixture(scope="module")
def server(island: Island, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("server") / "forksocks.toml"
    config.write_text(CONFIG)
    island.internet.ip("addr add 2a00:9::9/128 dev lo")
    island.dns.say("peer.example", ["10.0.0.1", NEXT_V4])
    island.dns.say("inside.example", ["10.0.0.1", "127.0.0.1"])
    with running(config=config, inside=island.home.enter) as started:
        yield started


def ask(island: Island, server: Server, host: str) -> tuple[Client, Reply]:
    client = connect(island, server)
    client.greet()
    return client, client.request(host, 0, BIND)


def come(island: Island, reply: Reply, source: str) -> socket.socket:
    """Be a peer out there."""
    return island.internet.connect(reply.host, reply.port, source=source)


def is_closed(sock: socket.socket) -> bool:
    sock.settimeout(PATIENCE)
    with contextlib.suppress(ConnectionResetError):
        return sock.recv(1) == b""
    return True


@pytest.mark.parametrize(
    ("host", "address", "peer"),
    [(NEXT_V4, HOME_V4, NEXT_V4), (NEXT_V6, HOME_V6, NEXT_V6), ("peer.example", HOME_V4, NEXT_V4)],
)
def test_strangers_who_come_first_are_closed_and_the_wait_goes_on(
    island: Island, server: Server, host: str, address: str, peer: str
) -> None:
    client, first = ask(island, server, host)
    with client:
        assert (first.code, first.host) == (0, address)  # where the peer sees us
        assert first.port >= 1024
        stranger_from = "9.9.9.9" if ":" not in peer else "2a00:9::9"
        for _ in range(3):
            with come(island, first, stranger_from) as stranger:
                assert is_closed(stranger)
        with come(island, first, peer) as friend:
            assert client.read_reply() == Reply(0, peer, friend.getsockname()[1])
            friend.sendall(b"hello")
            assert client.exactly(5) == b"hello"


def test_a_crowd_of_strangers_ends_the_wait(island: Island, server: Server) -> None:
    client, first = ask(island, server, NEXT_V4)
    with client:
        for _ in range(MOST_STRANGERS):
            with come(island, first, "9.9.9.9") as stranger:
                assert is_closed(stranger)
        assert client.read_reply().code == 2
        assert client.until_end() == b""
    server.wait_for("end", cmd="bind", cause="denied", hint=f"{MOST_STRANGERS} others came")


@pytest.mark.parametrize("host", [*REFUSED, HOME_V4, HOME_V6, "inside.example"])
def test_nobody_is_expected_who_may_not_be_dialled(island: Island, server: Server, host: str) -> None:
    client, reply = ask(island, server, host)
    with client:
        assert reply == Reply(2, "0.0.0.0", 0)
        assert client.until_end() == b""


def test_a_port_is_let_go_with_its_client(island: Island, server: Server) -> None:
    for _ in range(3):
        before = descriptors(server.workers[0])
        client, first = ask(island, server, NEXT_V4)
        assert first.code == 0
        client.reset()
        assert eventually(lambda: descriptors(server.workers[0]) <= before)  # noqa: B023 - asked in the loop
        with island.internet.make_socket() as peer:
            assert peer.connect_ex((first.host, first.port)) == errno.ECONNREFUSED


def test_waits_of_one_client_are_few(island: Island, server: Server) -> None:
    with contextlib.ExitStack() as stack:

        def wait() -> Reply:
            control = island.home.connect(*server.endpoint, source="127.3.0.1")
            client = stack.enter_context(Client(control))
            client.greet()
            return client.request(NEXT_V4, 0, BIND)

        ports = [wait() for _ in range(MOST_WAITS)]
        assert [reply.code for reply in ports] == [0] * MOST_WAITS
        assert wait().code == 2
        other, reply = ask(island, server, NEXT_V4)
        stack.enter_context(other)
        assert reply.code == 0
        with come(island, ports[0], NEXT_V4):  # one that has its peer waits no more
            assert eventually(lambda: wait().code == 0)


def test_anyone_is_not_everybody(island: Island, tmp_path: Path) -> None:
    """Where clients may leave open who is expected, it still has to be one that might be dialled."""
    config = tmp_path / "forksocks.toml"
    config.write_text(CONFIG.replace("127.0.0.1:0", f"{HOME_V4}:0") + "[access]\nopen_proxy = true\n")
    with running(config=config, inside=island.home.enter) as server:
        host, _, port = server.addresses[ANYONE].rpartition(":")
        with Client(island.internet.connect(host, int(port))) as client:
            client.greet()
            first = client.request("0.0.0.0", 0, BIND)
            assert (first.code, first.host) == (0, HOME_V4)
            for refused in ("10.0.0.1", "192.168.0.1"):
                with come(island, first, refused) as stranger:
                    assert is_closed(stranger)
            with come(island, first, "9.9.9.9") as friend:
                assert client.read_reply() == Reply(0, "9.9.9.9", friend.getsockname()[1])
