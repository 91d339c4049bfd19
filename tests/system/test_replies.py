"""What each outcome is called on the wire (RFC 1928 section 6), to the byte; from a server on an island.

Which errors the kernel gives is the routing tables' doing: home has a network for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import origins
from tests.system.client import ASSOCIATE, BIND, CONNECT, NO_ACCEPTABLE, Client, Reply, greeting, request
from tests.system.island import NEXT_V4, NEXT_V6, RESOLV_CONF, Island
from tests.system.origins import Origin
from tests.system.server import Server, running

CONFIG = """
[server]
workers = 1
drain = "1s"
[[listen]]
bind = ["127.0.0.1:0"]
[timeouts]
resolve = "1s"
connect = "1s"
[log]
level = "info"
"""
PORT = 80  # where on the internet somebody answers
CLOSED = 81  # and where nobody does
RESOLVE = (0xF0, 0xF1)  # Tor's commands
NOWHERE = b"\x00\x01" + bytes(6)  # of a reply: BND.ADDR 0.0.0.0, BND.PORT 0

REFUSED, NO_NETWORK, NO_HOST, NO_ANSWER, NO_HOPS = "8.8.8.8", "9.9.1.1", "9.9.2.1", "9.9.3.1", "9.9.4.1"
NO_HOST_V6 = "2a00:9:2::1"
FAR_HOST, FAR_NETWORK = "9.9.5.1", "9.9.6.1"  # as the next router says


@pytest.fixture(scope="module")
def world(island: Island) -> Island:
    island.home.ip(
        "route add throw 9.9.1.0/24",
        "route add unreachable 9.9.2.0/24",
        "route add unreachable 2a00:9:2::/48",
        "route add 9.9.3.0/24 via 93.184.216.99",
        "neigh add 93.184.216.99 lladdr 02:00:00:00:00:99 dev cable",  # nobody's
    )
    island.internet.ip(
        "route add 9.9.4.0/24 via 93.184.216.99",
        "route add unreachable 9.9.5.0/24",
        "route add throw 9.9.6.0/24",
    )
    island.internet.set("ipv4/ip_forward", 1)
    island.home.set("ipv4/ip_default_ttl", 1)
    island.dns.say("web.example", [NEXT_V4])
    island.dns.say("empty.example", [])
    island.dns.say("silent.example", None)
    island.dns.say("best.example", [NO_NETWORK, NO_HOST, REFUSED])
    island.dns.say("half.example", [NO_HOST_V6, NEXT_V4])
    return island


@pytest.fixture(scope="module")
def server(world: Island, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("server") / "forksocks.toml"
    config.write_text(CONFIG)
    with running(config=config, inside=world.home.enter) as started:
        yield started


@pytest.fixture(params=["0.0.0.0", "::"])
def origin(request: pytest.FixtureRequest, world: Island) -> Iterator[Origin]:
    listener = world.internet.listen(request.param, PORT)
    with origins.serving(origins.echo, listener=listener) as made:
        made.host = NEXT_V4 if request.param == "0.0.0.0" else NEXT_V6
        yield made


def connect(world: Island, server: Server) -> Client:
    return Client(world.home.connect(*server.endpoint))


def answer(world: Island, server: Server, message: bytes) -> bytes:
    """Everything that comes back after a greeting without authentication, until the server ends."""
    with connect(world, server) as client:
        assert client.greet() == 0
        client.sock.sendall(message)
        return client.until_end()


def test_success_names_the_outgoing_socket(world: Island, server: Server, origin: Origin) -> None:
    with connect(world, server) as client:
        reply = client.open(origin.host, PORT)
        assert client.exchange(b"hello") == b"hello"
        assert origin.peers == [(reply.host, reply.port)]


@pytest.mark.parametrize(
    ("host", "code", "cause"),
    [
        (REFUSED, 5, "refused"),
        ("2a00:8::8", 5, "refused"),
        (NO_NETWORK, 3, "unreachable"),
        (FAR_NETWORK, 3, "unreachable"),
        (NO_HOST, 4, "unreachable"),
        (NO_HOST_V6, 4, "unreachable"),
        (FAR_HOST, 4, "unreachable"),
        (NO_ANSWER, 6, "connect-timeout"),
        (NO_HOPS, 6, "unreachable"),
        ("unknown.example", 4, "dns-failed"),
        ("empty.example", 4, "dns-failed"),
        ("silent.example", 4, "dns-failed"),
        ("best.example", 5, "refused"),
        ("10.0.0.1", 2, "denied"),
        ("a b", 4, "bad-name"),
    ],
)
def test_failures_have_their_codes(world: Island, server: Server, host: str, code: int, cause: str) -> None:
    assert answer(world, server, request(host, CLOSED)) == bytes((5, code)) + NOWHERE
    shown = f"[{host}]" if ":" in host else host
    server.wait_for("end", to=f"{shown}:{CLOSED}", reply=code, cause=cause)


@pytest.mark.parametrize("command", sorted(set(range(256)) - {CONNECT, BIND, ASSOCIATE, *RESOLVE})[::25])
def test_commands_that_nobody_knows(world: Island, server: Server, command: int) -> None:
    for host in ("8.8.8.8", "2a00:8::8", "web.example"):
        assert answer(world, server, request(host, PORT, command)) == b"\x05\x07" + NOWHERE
    assert server.wait_for("end", cmd=f"{command:02x}")["cause"] == "unsupported"


@pytest.mark.parametrize("kind", [0, 2, 5, 255])
def test_address_types_that_nobody_knows(world: Island, server: Server, kind: int) -> None:
    assert answer(world, server, bytes((5, CONNECT, 0, kind))) == b"\x05\x08" + NOWHERE
    end = server.wait_for("end", hint=f"address type {kind}")
    assert (end["cause"], end["reply"]) == ("unsupported", "8")


@pytest.mark.parametrize("methods", [[1], [2], [3, 0x80, 0xFE], [0xFF]])
def test_methods_that_are_not_served(world: Island, server: Server, methods: list[int]) -> None:
    with connect(world, server) as client:
        client.sock.sendall(greeting(*methods))
        assert client.until_end() == bytes((5, NO_ACCEPTABLE))


def test_the_reply_comes_before_the_first_byte_of_the_target_and_is_whole(
    world: Island, server: Server
) -> None:
    listener = world.internet.listen("0.0.0.0", PORT)
    speaking = origins.serving(lambda sock: sock.sendall(b"220 hello\r\n"), listener=listener)
    with speaking, connect(world, server) as client:
        client.sock.sendall(greeting() + request(NEXT_V4, PORT))
        got = client.until_end()
    assert got[:4] == b"\x05\x00\x05\x00"
    assert got[4:6] == b"\x00\x01"
    assert got[12:] == b"220 hello\r\n"


def test_a_name_is_connected_to_by_its_other_family_if_one_is_dead(world: Island, server: Server) -> None:
    echo = origins.serving(origins.echo, listener=world.internet.listen("0.0.0.0", PORT))
    with echo as origin, connect(world, server) as client:
        reply = client.open("half.example", PORT)
        assert client.exchange(b"hello") == b"hello"
        assert (reply.host, reply.port) == origin.peers[0]


def test_dead_dns_never_blocks_other_clients(world: Island, tmp_path: Path) -> None:
    """Twenty clients wait for a name that nobody answers about; the next ones do not wait with them."""
    config = tmp_path / "forksocks.toml"
    config.write_text(CONFIG.replace('resolve = "1s"', 'resolve = "100s"'))
    (world.etc / "resolv.conf").write_text(RESOLV_CONF.replace("timeout:5", "timeout:30"))
    try:
        with running(config=config, inside=world.home.enter) as server:
            stuck = [connect(world, server) for _ in range(20)]
            for client in stuck:
                assert client.greet() == 0
                client.sock.sendall(request("silent.example", PORT))
            with origins.serving(origins.echo, listener=world.internet.listen("0.0.0.0", PORT)):
                with connect(world, server) as client:  # the same client asks for an address
                    client.open(NEXT_V4, PORT)
                    assert client.exchange(b"address") == b"address"
                other = world.home.connect(*server.endpoint, source="127.0.0.9")
                with Client(other) as client:  # and somebody else for a name
                    assert isinstance(client.open("web.example", PORT), Reply)
                    assert client.exchange(b"name") == b"name"
            for client in stuck:
                client.sock.setblocking(False)
                with pytest.raises(BlockingIOError):
                    client.sock.recv(1)
                client.reset()
    finally:
        (world.etc / "resolv.conf").write_text(RESOLV_CONF)
