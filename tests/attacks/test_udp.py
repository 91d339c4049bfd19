"""What nobody gets out of UDP ASSOCIATE; from an island whose internet answers as anyone."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import count
from pathlib import Path

import pytest

from tests.attacks.addresses import PUBLIC, REFUSED, SPELLINGS
from tests.system.client import ASSOCIATE, PATIENCE, Client
from tests.system.datagrams import Association, header, is_empty, port_of
from tests.system.island import HOME_V4, HOME_V6, NEXT_V4, NEXT_V6, Island
from tests.system.processes import descriptors, eventually, pss, threads
from tests.system.server import Server, running

CONFIG = """
[server]
workers = 1
drain = "1s"
[[listen]]
bind = ["127.0.0.1:0"]
[timeouts]
resolve = "30s"
[log]
level = "info"
"""
PORT = 53
MOST_PEERS = 256
MB = 1_000_000
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def server(island: Island, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("server") / "forksocks.toml"
    config.write_text(CONFIG)
    with running(config=config, inside=island.home.enter) as started:
        yield started


@pytest.fixture
def far(island: Island) -> Iterator[socket.socket]:
    """Who has PORT at every address of the internet."""
    with receiver(island, "internet") as sock:
        yield sock


@pytest.fixture
def near(island: Island) -> Iterator[socket.socket]:
    """Who has PORT at home, where nobody may come."""
    with receiver(island, "home") as sock:
        yield sock


def receiver(island: Island, where: str) -> socket.socket:
    sock: socket.socket = getattr(island, where).listen("::", PORT, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    return sock


def datagrams(island: Island, source: str) -> socket.socket:
    sock: socket.socket = island.home.listen(source, 0, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    return sock


@pytest.fixture
def client(island: Island, server: Server) -> Iterator[Association]:
    """A client with an address of its own."""
    source = str(ip_address("127.2.0.0") + next(_NUMBERS))
    control = island.home.connect(*server.endpoint, source=source)
    with Association(control, sock=datagrams(island, source)) as association:
        yield association


def passes(client: Association, far: socket.socket, payload: bytes) -> tuple[str, int]:
    """What is public is what arrives next out there, its answer comes back; return our address there."""
    client.send(payload, NEXT_V4, PORT)
    data, source = far.recvfrom(65536)
    assert data == payload
    far.sendto(payload, source)
    assert client.receive().payload == payload
    return source[0].removeprefix("::ffff:"), source[1]


# U1: who is the client


def test_the_first_datagram_from_another_address_is_nobodys(
    island: Island, client: Association, far: socket.socket
) -> None:
    with datagrams(island, "127.0.0.2") as stranger:
        stranger.sendto(header(NEXT_V4, PORT) + b"stranger", client.relay)
        passes(client, far, b"client")
        stranger.sendto(header(NEXT_V4, PORT) + b"stranger", client.relay)
        passes(client, far, b"again")


def test_another_port_after_the_first_is_nobodys(
    island: Island, client: Association, far: socket.socket
) -> None:
    passes(client, far, b"first")
    with datagrams(island, client.sock.getsockname()[0]) as other:
        other.sendto(header(NEXT_V4, PORT) + b"other", client.relay)
        passes(client, far, b"second")


def test_what_a_stranger_sent_before_the_lock_stays_out(
    island: Island, client: Association, far: socket.socket
) -> None:
    """Both are in the queue when the first of them is read."""
    with datagrams(island, "127.0.0.2") as stranger:
        for _ in range(20):
            stranger.sendto(header(NEXT_V4, PORT) + b"stranger", client.relay)
            client.send(b"client", NEXT_V4, PORT)
        assert [far.recv(99) for _ in range(20)] == [b"client"] * 20


# U2: to whom answers go


@pytest.mark.parametrize(
    "claim", ["127.0.0.2", HOME_V4, NEXT_V4, "::1", "2001:db8::1", "localhost", "web.example"]
)
def test_a_request_for_somebody_else_is_refused(island: Island, server: Server, claim: str) -> None:
    before = descriptors(server.workers[0])
    with Client(island.home.connect(*server.endpoint, source="127.0.0.1")) as client:
        client.greet()
        assert client.request(claim, 5000, ASSOCIATE).code == 2
        assert client.until_end() == b""
    server.wait_for("end", cmd="udp", cause="denied", hint="datagrams from another address")
    assert eventually(lambda: descriptors(server.workers[0]) <= before)


@pytest.mark.parametrize("claim", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_a_request_for_oneself_is_granted(
    island: Island, server: Server, claim: str, far: socket.socket
) -> None:
    sock = datagrams(island, "127.0.0.1")
    control = island.home.connect(*server.endpoint, source="127.0.0.1")
    with Association(control, (claim, port_of(sock)), sock) as association:
        passes(association, far, b"hello")


# U4: who may answer


def test_an_answer_from_whom_nobody_wrote_to(island: Island, client: Association, far: socket.socket) -> None:
    ours = passes(client, far, b"hello")
    other_port, other_host = (
        island.internet.listen(host, port, socket.SOCK_DGRAM)
        for host, port in ((NEXT_V4, 0), ("9.9.9.9", 5353))
    )
    with other_port, other_host:
        for sock in (other_port, other_host):
            sock.sendto(b"unasked", ours)
        passes(client, far, b"next")


def test_peers_are_bounded_and_the_oldest_go(client: Association, far: socket.socket) -> None:
    ours = passes(client, far, b"oldest")
    hosts = [f"9.0.{number // 256}.{number % 256}" for number in range(2 * MOST_PEERS)]
    for host in hosts:
        client.send(b"x", host, PORT)
        source = far.recvfrom(9)[1]
        assert source[1] == ours[1]
    far.sendto(b"forgotten", source)
    answered = set()
    for host in (NEXT_V4, hosts[0], hosts[-1]):
        with_source(far, host, f"from {host}".encode(), ours)
        answered.add(host)
    got = client.receive()
    assert (got.host, got.payload) == (hosts[-1], f"from {hosts[-1]}".encode())


def with_source(far: socket.socket, host: str, payload: bytes, to: tuple[str, int]) -> None:
    """Send from one of the internet's addresses (IP_PKTINFO, ip(7))."""
    mapped = ip_address(f"::ffff:{host}").packed + bytes(4)  # struct in6_pktinfo
    control = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, mapped)]
    far.sendmsg([payload], control, 0, (f"::ffff:{to[0]}", to[1], 0, 0))


# U5: each datagram is judged (S)


def test_no_refused_address_is_ever_written_to(
    client: Association, server: Server, near: socket.socket, far: socket.socket
) -> None:
    passes(client, far, b"first")
    for address in (*REFUSED, HOME_V4, HOME_V6):
        client.send(b"no", address, PORT)
        client.send(b"no", address.encode(), PORT)
    for name in SPELLINGS:
        client.send(b"no", name.encode(), PORT)
    passes(client, far, b"the next that arrives out there")
    assert is_empty(near)
    identity = server.wait_for("datagram-denied")["id"]
    assert len(server.events("datagram-denied", id=identity)) == 1
    client.control.sock.close()
    assert int(server.wait_for("end", id=identity)["denied"]) > len(REFUSED)


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_written_to(client: Association, far: socket.socket, address: str) -> None:
    client.send(b"yes", address, PORT)
    assert far.recv(9) == b"yes"


def test_a_name_is_what_it_is_now(island: Island, client: Association, far: socket.socket) -> None:
    """Private addresses beside public ones are passed over; private ones alone are refused."""
    island.dns.say("mixed.example", ["10.0.0.1", NEXT_V4])
    island.dns.say("inside.example", ["10.0.0.1", "127.0.0.1", HOME_V4])
    client.send(b"no", b"inside.example", PORT)
    assert eventually(lambda: island.dns.count("inside.example"))
    client.send(b"mixed", b"mixed.example", PORT)
    assert far.recv(9) == b"mixed"
    assert island.dns.count("mixed.example") == 1
    client.send(b"mixed", b"MIXED.example.", PORT)
    assert far.recv(9) == b"mixed"
    assert island.dns.count("mixed.example") == 1  # remembered: a second answer could be another one


def test_both_families_out_there(client: Association, far: socket.socket) -> None:
    client.send(b"six", NEXT_V6, PORT)
    _, source = far.recvfrom(9)
    far.sendto(b"answer", source)
    assert client.receive() == (NEXT_V6, PORT, b"answer", 0)


# U6: fragments that never end


def test_endless_fragments_cost_nothing(client: Association, server: Server, far: socket.socket) -> None:
    passes(client, far, b"first")
    before = pss(server.workers[0])
    for _ in range(100):
        for number in range(1, 127):
            client.send(bytes(1000), NEXT_V4, PORT, number)
    passes(client, far, b"after")
    assert pss(server.workers[0]) < before + 4 * MB


# U7: rubbish


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"\0",
        b"\0\0\0\3\xff",
        b"\0\0\0\3\xff" + b"n" * 254,
        b"\0\0\0\1\x09\x09\x09\x09\0",
        b"\0\0\0\4" + bytes(17),
        b"\0\0\0\0" + bytes(10),
        b"\0\0\0\2" + bytes(10),
        b"\0\0\0\xff" + bytes(10),
        b"\1\0" + header(NEXT_V4, PORT)[2:] + b"RSV is not 0",
        b"\0\1" + header(NEXT_V4, PORT)[2:] + b"RSV is not 0",
        header(NEXT_V4, PORT)[:-1],  # the byte that is missing lies there from before
        header(NEXT_V4, 0) + b"port 0",
        header("255.255.255.255", PORT) + b"broadcast",
        header(b"", PORT) + b"no name",
        header(b"a b", PORT) + b"no name",
        header(b"n" * 64, PORT) + b"no name",
        bytes(65_507),
    ],
    ids=lambda rubbish: f"{len(rubbish)}-{rubbish[:6].hex()}",
)
def test_rubbish_is_dropped_and_never_answered(
    client: Association, far: socket.socket, rubbish: bytes
) -> None:
    for _ in range(2):  # also after something whose bytes are still in the buffer
        client.sock.sendto(rubbish, client.relay)
        passes(client, far, b"next")
    assert client.nothing_came()


def test_its_own_port_is_no_destination(island: Island, tmp_path: Path) -> None:
    config = tmp_path / "forksocks.toml"
    config.write_text(CONFIG + '[access]\nallow_to = ["@any"]\n')
    with running(config=config, inside=island.home.enter) as server:
        control = island.home.connect(*server.endpoint, source="127.0.0.1")
        with Association(control, sock=datagrams(island, "127.0.0.1")) as association:
            host, port = association.relay
            association.send(header(host, port) * 2, host, port)
            association.send(header(host, port), b"localhost", port)
            association.send(b"direct", "127.0.0.1", port_of(association.sock))
            assert association.sock.recv(99) == b"direct"
            assert association.nothing_came()
        assert int(server.wait_for("end", cmd="udp")["dropped"]) >= 1


# U8 and N: names as a burden


def test_names_that_nobody_answers_for_are_bounded(
    island: Island, server: Server, client: Association, far: socket.socket
) -> None:
    passes(client, far, b"first")
    before = threads(server.workers[0])
    for number in range(200):
        island.dns.say(f"silent{number}.example", None)
        client.send(bytes(1000), f"silent{number}.example".encode(), PORT)
    passes(client, far, b"passes by")
    assert threads(server.workers[0]) <= before + 4


# U8: floods


FLOODED = """
[server]
workers = 1
drain = "1s"
[[listen]]
bind = ["127.0.0.1:0"]
udp = { rate = "20/h burst 5" }
[limit.person]
per = "address"
associations = 2
[log]
level = "info"
"""


def test_a_flood_is_capped_and_others_pass(island: Island, tmp_path: Path, far: socket.socket) -> None:
    """One client has two associations at most, and each its rate; what is beyond is not even read."""
    config = tmp_path / "forksocks.toml"
    config.write_text(FLOODED)
    with running(config=config, inside=island.home.enter) as server, contextlib.ExitStack() as stack:

        def associate(source: str) -> Association:
            control = island.home.connect(*server.endpoint, source=source)
            return stack.enter_context(Association(control, sock=datagrams(island, source)))

        floods = [associate("127.7.0.1") for _ in range(2)]
        third = Client(island.home.connect(*server.endpoint, source="127.7.0.1"))
        with third:
            third.greet()
            assert third.request("0.0.0.0", 0, ASSOCIATE).code == 2
        for _ in range(500):
            for flood in floods:
                flood.send(b"flood", NEXT_V4, PORT)
        assert [far.recv(99) for _ in range(10)] == [b"flood"] * 10
        passes(associate("127.7.0.2"), far, b"another")
        stack.close()
        ends = [server.wait_for("end", cmd="udp", cause="client-closed", sent=5) for _ in range(2)]
        assert [end["received"] for end in ends] == ["0", "0"]
