"""What must never be dialled, however it is asked for; from an island whose internet answers as anyone.

Both ends listen on the port that is asked for, so a dial that should not have been is a connection there.
"""

from __future__ import annotations

import re
import select
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.attacks.addresses import PUBLIC, REFUSED, SPELLINGS
from tests.attacks.clients import connect
from tests.system import origins
from tests.system.client import Client, Reply, request
from tests.system.island import HOME_V4, HOME_V6, RESOLV_CONF, Island
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import Server, running

PORT, CLOSED = 80, 81
CONFIG = """
[server]
workers = 2
drain = "1s"
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = {allow_to}
[timeouts]
connect = "1s"
[log]
level = "trace"
"""
DENIED, BAD_HOST = 2, 4
# Addresses of home's own: some it is given by a test, some it takes for its own without having them (AnyIP).
OWN = (
    HOME_V4, HOME_V6, "10.5.5.5", "fd00:5::5", "7.7.7.7", "2a00:7::7", "::ffff:7.7.7.8", "64:ff9b::707:707",
    "93.184.216.255",
)  # fmt: skip


def config(folder: Path, allow_to: str = "[]") -> Path:
    path = folder / "forksocks.toml"
    path.write_text(CONFIG.replace("{allow_to}", allow_to))
    return path


@pytest.fixture(scope="module")
def server(island: Island, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(config=config(tmp_path_factory.mktemp("server")), inside=island.home.enter) as started:
        yield started


@pytest.fixture
def far(island: Island) -> Iterator[Origin]:
    """Who listens on the internet's side, for both families."""
    with origins.serving(origins.echo, listener=island.internet.listen("::", PORT)) as made:
        yield made


@pytest.fixture
def near(island: Island) -> Iterator[Origin]:
    """Who listens at home, where nobody may come."""
    with origins.serving(origins.echo, listener=island.home.listen("::", PORT)) as made:
        yield made


def ask(island: Island, server: Server, host: str | bytes, port: int = PORT) -> Reply:
    with connect(island, server) as client:
        assert client.greet() == 0
        return client.request(host, port)


def written(address: str) -> bytes:
    """An address as text, which a client sends as a name (ATYP 3)."""
    return address.encode()


def answered(island: Island, address: str) -> bytes:
    """A name that has this one address, as a DNS server says."""
    name = f"a{int(ip_address(address)):x}.example"
    island.dns.say(name, [address])
    return name.encode()


def test_refused_addresses_are_not_dialled_however_they_come(
    island: Island, server: Server, far: Origin, near: Origin
) -> None:
    wrong = []
    for address in REFUSED:
        for host in (address, written(address), answered(island, address)):
            reply = ask(island, server, host)
            if reply != Reply(DENIED, "0.0.0.0", 0):
                wrong.append((address, host, reply))
    assert wrong == []
    assert far.peers == near.peers == []
    server.wait_for("end", to=f"[ff0e::1]:{PORT}")
    ends = server.events("end", cause="denied")
    assert all(re.match(r"--allow-to @[a-z-]+$", end["hint"]) for end in ends)
    assert not any("addr" in end for end in ends)


def test_other_spellings_are_refused_or_no_names(
    island: Island, server: Server, far: Origin, near: Origin
) -> None:
    island.dns.say("metadata.google.internal", ["169.254.169.254"])
    codes = {each: ask(island, server, each.encode()).code for each in SPELLINGS}
    assert set(codes.values()) == {DENIED, BAD_HOST}, codes
    for known in ("127.0.0.1.", "LOCALHOST", "localhost.", "ip6-localhost", "island"):
        assert codes[known] == DENIED, known
    assert codes["metadata.google.internal"] == DENIED
    assert far.peers == near.peers == []


def test_public_addresses_are_dialled(island: Island, server: Server, far: Origin) -> None:
    for address in PUBLIC:
        for host in (address, written(address), answered(island, address)):
            assert ask(island, server, host).code == 0, (address, host)
    assert eventually(lambda: len(far.peers) == 3 * len(PUBLIC))


def test_the_address_that_is_judged_is_dialled_and_looked_up_once(
    island: Island, server: Server, far: Origin, near: Origin
) -> None:
    island.dns.say("rebind.example", ["8.8.8.8"], ["127.0.0.1"])
    assert ask(island, server, "rebind.example").code == 0
    assert island.dns.count("rebind.example") == 1
    assert server.wait_for("end", to=f"rebind.example:{PORT}")["addr"] == f"8.8.8.8:{PORT}"
    assert ask(island, server, "rebind.example").code == DENIED
    assert island.dns.count("rebind.example") == 2
    assert eventually(lambda: len(far.peers) == 1)
    assert near.peers == []


def test_refused_addresses_among_others_are_left_out_and_logged(
    island: Island, server: Server, far: Origin, near: Origin
) -> None:
    island.dns.say("mixed.example", ["127.0.0.1", "::1", "10.0.0.1", "fd00::1", "8.8.4.4"])
    assert ask(island, server, "mixed.example").code == 0
    end = server.wait_for("end", to=f"mixed.example:{PORT}")
    assert end["addr"] == f"8.8.4.4:{PORT}"
    assert eventually(lambda: len(far.peers) == 1)
    assert near.peers == []
    island.dns.say("private.example", ["127.0.0.1", "10.0.0.1"])
    assert ask(island, server, "private.example").code == DENIED
    hint = server.wait_for("end", to=f"private.example:{PORT}")["hint"]
    assert set(re.findall("@[a-z-]+", hint)) == {"@loopback", "@private"}
    assert near.peers == []


def attempts(server: Server, end: dict[str, str]) -> list[str]:
    """The addresses that a session has dialled."""
    lines = server.events("system", id=end["id"])
    return [line["what"].split()[1] for line in lines if line["what"].startswith("dialling ")]


def test_a_name_with_four_thousand_addresses_is_sixteen_attempts(island: Island, server: Server) -> None:
    island.dns.say("many.example", [f"5.0.{number >> 8}.{number & 255}" for number in range(4000)])
    assert ask(island, server, "many.example", CLOSED).code == 5
    found = attempts(server, server.wait_for("end", to=f"many.example:{CLOSED}"))
    assert len(found) == len(set(found)) == 16


def test_many_dead_addresses_share_one_deadline(island: Island, server: Server) -> None:
    island.home.ip(
        "route add 9.9.3.0/24 via 93.184.216.99",
        "neigh add 93.184.216.99 lladdr 02:00:00:00:00:99 dev cable",  # nobody's
    )
    island.dns.say("dead.example", [f"9.9.3.{number}" for number in range(16)])
    assert ask(island, server, "dead.example").code == 6
    end = server.wait_for("end", to=f"dead.example:{PORT}", cause="connect-timeout")
    assert 1 <= len(attempts(server, end)) <= 5, "a second's worth, one each 250 ms"


def test_a_refusal_says_nothing_about_the_port(island: Island, server: Server, near: Origin) -> None:
    for host in ("127.0.0.1", "::1", HOME_V4, HOME_V6):
        assert ask(island, server, host, PORT) == ask(island, server, host, CLOSED) == (DENIED, "0.0.0.0", 0)
    assert near.peers == []


def test_own_addresses_stay_closed_where_private_ones_are_open(
    island: Island, far: Origin, near: Origin, tmp_path: Path
) -> None:
    island.home.ip(
        "addr add 10.5.5.5/24 dev cable",
        "addr add fd00:5::5/64 dev cable nodad",
        "route add local 7.7.7.0/24 dev lo",
        "route add local 2a00:7::/32 dev lo",
    )
    with running(config=config(tmp_path, '["@private"]'), inside=island.home.enter) as server:
        for own in OWN:
            assert ask(island, server, own) == (DENIED, "0.0.0.0", 0), own
            assert ask(island, server, answered(island, own)).code == DENIED, own
        server.wait_for("end", to=f"{answered(island, OWN[-1]).decode()}:{PORT}")
        assert {end["hint"] for end in server.events("end")} == {"--allow-to @self"}
        assert near.peers == []
        assert ask(island, server, "10.99.0.1").code == 0
        assert eventually(lambda: len(far.peers) == 1)


def test_nothing_is_connected_to_but_what_may_be(island: Island, far: Origin, tmp_path: Path) -> None:
    """As the kernel sees it: every connect(2) and sendto(2) of every process of the server."""
    calls = tmp_path / "calls"
    tracing = ["strace", "-D", "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(calls)]
    with running(config=config(tmp_path), inside=[*island.home.enter, *tracing]) as server:
        for address in REFUSED:
            for host in (address, written(address), answered(island, address)):
                assert ask(island, server, host).code == DENIED
        assert ask(island, server, "8.8.8.8").code == 0
    connected = re.findall(rf"connect\(.*sin6?_port=htons\({PORT}\).*", calls.read_text())
    assert len(connected) == 1
    assert "8.8.8.8" in connected[0]
    assert not re.search(r"sendto\(.*sa_family=AF_INET", calls.read_text())


def test_lookups_that_never_end_are_capped_and_others_go_on(
    island: Island, far: Origin, tmp_path: Path
) -> None:
    """Three hundred names of one client that nobody answers about: four are asked for, 32 wait."""
    island.dns.say("silent.example", None)
    island.dns.say("public.example", ["8.8.8.8"])
    (island.etc / "resolv.conf").write_text(RESOLV_CONF.replace("timeout:5", "timeout:30"))
    text = CONFIG.replace("{allow_to}", "[]").replace("workers = 2", "workers = 1")
    (tmp_path / "forksocks.toml").write_text(text.replace("[timeouts]", '[timeouts]\nresolve = "100s"'))
    try:
        with running(config=tmp_path / "forksocks.toml", inside=island.home.enter) as server:
            stuck = [Client(island.home.connect(*server.endpoint)) for _ in range(300)]
            for client in stuck:
                assert client.greet() == 0
                client.sock.sendall(request("silent.example", PORT))
            assert eventually(lambda: sum(has_answer(client) for client in stuck) == 300 - 36)
            for _ in range(5):
                assert ask(island, server, "public.example").code == 0
            waiting = [client for client in stuck if not has_answer(client)]
            assert len(waiting) == 36
            assert {client.read_reply().code for client in stuck if client not in waiting} == {BAD_HOST}
            for client in stuck:
                client.sock.close()
            assert island.dns.count("silent.example") <= 4
    finally:
        (island.etc / "resolv.conf").write_text(RESOLV_CONF)


def has_answer(client: Client) -> bool:
    """Whether something can be read."""
    return bool(select.select([client.sock], [], [], 0)[0])


def test_a_port_that_meets_itself_is_a_refusal(island: Island, tmp_path: Path) -> None:
    """TCP's simultaneous open: a dial to a free local port that the kernel also takes as its source."""
    island.home.set("ipv4/ip_local_port_range", "40000 40007")
    path = tmp_path / "socks"
    text = CONFIG.replace("{allow_to}", '["@loopback"]').replace("127.0.0.1:0", f"unix:{path}")
    (tmp_path / "forksocks.toml").write_text(text)
    try:
        assert eventually(lambda: meets_itself(island)), "this kernel does not do that"
        with running(config=tmp_path / "forksocks.toml", inside=island.home.enter):
            for turn in range(160):
                with Client(str(path)) as client:  # takes no port itself
                    assert client.greet() == 0
                    assert client.request("127.0.0.1", 40000 + turn % 8).code == 5
    finally:
        island.home.set("ipv4/ip_local_port_range", "32768 60999")


def meets_itself(island: Island) -> bool:
    """Dial each of the eight ports; whether a socket was connected to itself."""
    met = False
    for port in range(40000, 40008):
        with island.home.make_socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                met = met or sock.getsockname() == sock.getpeername()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return met


def test_no_trust_by_source_behind_a_port_mapper(island: Island, tmp_path: Path) -> None:
    """The default gateway's address, and in a container every private one, may be the whole internet's."""
    island.home.ip("addr add 172.17.0.2/16 dev cable")
    island.internet.ip("addr add 172.17.0.1/16 dev cable", "addr add 172.17.0.9/16 dev cable")
    island.home.ip("route add default via 172.17.0.1 metric 100")
    text = CONFIG.replace("{allow_to}", "[]").replace("127.0.0.1:0", "172.17.0.2:0")
    (tmp_path / "forksocks.toml").write_text(text.replace("[access]", '[access]\nallow_from = ["@attached"]'))
    with running(config=tmp_path / "forksocks.toml", inside=island.home.enter) as server:
        assert asked_from(island, server, "172.17.0.9") == 5
        assert asked_from(island, server, "172.17.0.1") == DENIED
    (tmp_path / "forksocks.toml").write_text(text)
    contained = [*island.home.enter, "env", "container=docker"]
    with running(config=tmp_path / "forksocks.toml", inside=contained) as server:
        assert asked_from(island, server, "172.17.0.9") == DENIED
        assert asked_from(island, server, "172.17.0.1") == DENIED


def asked_from(island: Island, server: Server, source: str) -> int:
    """The reply to a client of the internet's side."""
    with Client(island.internet.connect(*server.endpoint, source=source)) as client:
        assert client.greet() == 0
        return client.request("8.8.8.8", CLOSED).code
