"""The network goes away under a running server and comes back: a cable, an address, a whole interface."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import origins
from tests.system.client import BIND, Client
from tests.system.datagrams import Association
from tests.system.island import HOME_V4, NEXT_V4, Island
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually
from tests.system.server import Server, endpoint, running

CONFIG = f"""
[server]
workers = 2
[[listen]]
name = "inside"
bind = ["127.0.0.1:0"]
[[listen]]
name = "outside"
bind = ["{HOME_V4}:0"]
[access]
open_proxy = true
[timeouts]
idle = "2s"
[log]
level = "info"
"""
VISITOR = "9.9.9.8"
SPARE_V4, SPARE_NEXT_V4 = "93.184.217.1", "93.184.217.34"  # both ends of a second cable


@pytest.fixture
def server(island: Island, tmp_path: Path) -> Iterator[Server]:
    config = tmp_path / "forksocks.toml"
    config.write_text(CONFIG)
    with running(config=config, inside=island.home.enter) as started:
        yield started


@pytest.fixture
def far(island: Island) -> Iterator[Origin]:
    with origins.serving(origins.echo, listener=island.internet.listen(NEXT_V4)) as origin:
        yield origin


def inside(island: Island, server: Server) -> Client:
    return Client(island.home.connect(*server.endpoint))


def outside(island: Island, server: Server) -> Client:
    return Client(island.internet.connect(*endpoint(server.addresses[1]), source=VISITOR))


def is_served(client: Client, far: Origin) -> bool:
    with client:
        client.greet()
        return client.request(NEXT_V4, far.port).code == 0 and client.exchange(b"hello") == b"hello"


def test_a_cable_that_is_pulled_and_plugged_in_again(island: Island, server: Server, far: Origin) -> None:
    workers = server.workers
    with inside(island, server) as tunnel, outside(island, server) as visitor:
        for client in (tunnel, visitor):
            client.open(NEXT_V4, far.port)
            assert client.exchange(b"hello") == b"hello"
        island.home.ip("link set cable down")
        try:
            with inside(island, server) as client:
                client.greet()
                assert client.request(NEXT_V4, far.port).code == 3
            assert eventually(lambda: len(server.events("end", to=f"{NEXT_V4}:{far.port}", reply=0)) == 2)
        finally:
            island.home.ip("link set cable up", f"route add default via {NEXT_V4}")
    assert is_served(inside(island, server), far)
    assert is_served(outside(island, server), far)
    assert {line["cause"] for line in server.events("end", reply=0)} <= {"idle", "client-closed"}
    assert server.workers == workers


def test_an_address_that_is_taken_and_given_back(island: Island, server: Server, far: Origin) -> None:
    """It listens there all the while: nothing has to be bound anew."""
    assert is_served(outside(island, server), far)
    island.home.ip(f"addr del {HOME_V4}/24 dev cable")
    try:
        with inside(island, server) as client:
            client.greet()
            assert client.request(NEXT_V4, far.port).code == 3
    finally:
        island.home.ip(f"addr add {HOME_V4}/24 dev cable", f"route add default via {NEXT_V4}")
    assert is_served(outside(island, server), far)
    assert is_served(inside(island, server), far)


def plug_a_second_cable_in(island: Island) -> None:
    island.home.ip(
        f"link add spare type veth peer name spare netns {island.internet.pid}",
        f"addr add {SPARE_V4}/24 dev spare",
        "link set spare up",
    )
    island.internet.ip(f"addr add {SPARE_NEXT_V4}/24 dev spare", "link set spare up")


RULES = f"""
sandbox = "auto"
workers = 1
[[listen]]
bind = ["127.0.0.1:0"]
commands = ["connect", "udp", "bind"]
[access]
open_proxy = true
[log]
level = "info"
[[rule]]
name = "spare"
to = ["{VISITOR}"]
action = "allow"
interface = "spare"
[[rule]]
name = "rest"
action = "allow"
"""


def test_what_a_rule_sends_over_an_interface_leaves_there_alone(
    island: Island, far: Origin, tmp_path: Path
) -> None:
    """Connections, datagrams and those whom BIND awaits, from within the sandbox; and it may be gone."""
    plug_a_second_cable_in(island)
    island.home.ip(f"route add default via {SPARE_NEXT_V4} dev spare metric 4000")
    config = tmp_path / "forksocks.toml"
    config.write_text(f"[server]{RULES}")
    with (
        running(config=config, inside=island.home.enter) as server,
        origins.serving(origins.echo, listener=island.internet.listen(VISITOR)) as there,
    ):
        assert "seccomp" in server.wait_for("sandbox")["holds"]
        for host, origin, source in ((VISITOR, there, SPARE_V4), (NEXT_V4, far, HOME_V4)):
            with inside(island, server) as client:
                assert client.open(host, origin.port).host == source
                assert client.exchange(b"hello") == b"hello"
        with island.internet.listen(VISITOR, kind=socket.SOCK_DGRAM) as remote:
            remote.settimeout(LONG)
            control = island.home.connect(*server.endpoint)
            with Association(control, sock=island.home.make_socket(kind=socket.SOCK_DGRAM)) as association:
                association.send(b"ping", *remote.getsockname())
                data, came_from = remote.recvfrom(100)
                assert (data, came_from[0]) == (b"ping", SPARE_V4)
        with inside(island, server) as client:
            client.greet()
            first = client.request(VISITOR, 0, BIND)
            assert (first.code, first.host) == (0, SPARE_V4)
            with island.internet.connect(SPARE_V4, first.port, source=VISITOR) as peer:
                assert client.read_reply().host == VISITOR
                peer.sendall(b"hello")
                assert client.exactly(5) == b"hello"
        island.home.ip("link del spare")
        with inside(island, server) as client:
            client.greet()
            assert client.request(VISITOR, there.port).code == 3, "it does not go by another way"
        assert is_served(inside(island, server), far)


def test_an_interface_that_is_removed_and_made_again(island: Island, far: Origin, tmp_path: Path) -> None:
    """What went over it ends by its limits, all else never notices, and it is listened to again."""
    plug_a_second_cable_in(island)
    config = tmp_path / "forksocks.toml"
    config.write_text(CONFIG.replace(HOME_V4, SPARE_V4))

    with (
        running(config=config, inside=island.home.enter) as server,
        origins.serving(origins.echo, listener=island.internet.listen(SPARE_NEXT_V4)) as gone,
    ):
        workers, at = server.workers, endpoint(server.addresses[1])

        def visitor() -> Client:
            return Client(island.internet.connect(*at, source=SPARE_NEXT_V4))

        with visitor() as cut, inside(island, server) as to_gone, inside(island, server) as tunnel:
            for client, host, origin in (
                (cut, NEXT_V4, far),
                (to_gone, SPARE_NEXT_V4, gone),
                (tunnel, NEXT_V4, far),
            ):
                client.open(host, origin.port)
                assert client.exchange(b"hello") == b"hello"
            island.home.ip("link del spare")
            assert tunnel.exchange(b"still here") == b"still here"
            assert is_served(inside(island, server), far)
            assert eventually(lambda: len(server.events("end", cause="idle")) >= 2)
        plug_a_second_cable_in(island)
        assert is_served(visitor(), far)
        assert server.workers == workers
    island.home.ip("link del spare")
