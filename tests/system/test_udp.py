"""UDP ASSOCIATE through a real server (RFC 1928 section 7)."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import socks

from tests.system import processes
from tests.system.client import ASSOCIATE, PATIENCE, Client
from tests.system.conftest import Start
from tests.system.datagrams import (
    Association,
    Datagram,
    free_ports,
    header,
    is_empty,
    port_of,
    remote,
    udp_socket,
)
from tests.system.processes import descriptors, eventually
from tests.system.server import Server

CONFIG = """
[server]
workers = 1
drain = "1s"
[[listen]]
bind = ["127.0.0.1:0"]
udp = {{ {udp} }}
[access]
allow_to = ["@loopback"]
[timeouts]
udp_idle = "{idle}"
[log]
level = "info"
"""
LAST = 0x80
LONGEST = 65_507 - 10  # bytes of payload that fit into a datagram beside an IPv4 header


def configured(server: Start, udp: str = "", idle: str = "1h") -> Server:
    return server(config=CONFIG.format(udp=udp, idle=idle))


@pytest.fixture
def there() -> Iterator[socket.socket]:
    with remote() as sock:
        yield sock


def exchange(association: Association, there: socket.socket, host: str | bytes, payload: bytes) -> None:
    """Send a datagram and have it sent back."""
    association.send(payload, host, port_of(there))
    data, source = there.recvfrom(65536)
    assert data == payload
    there.sendto(payload[::-1], source)
    assert association.receive() == Datagram(there.getsockname()[0], port_of(there), payload[::-1])


def test_both_families_and_names_in_one_association(server: Start, there: socket.socket) -> None:
    started = server()
    with remote("::1") as other, Association(started.endpoint) as association:
        assert association.reply.host == "127.0.0.1"  # where the client reached the server
        for _ in range(2):
            exchange(association, there, "127.0.0.1", b"IPv4")
            exchange(association, other, "::1", b"IPv6")
            exchange(association, other, "::1", b"")
            exchange(association, there, "::ffff:127.0.0.1", b"mapped")
            exchange(association, there, b"127.0.0.1", b"an address as text")
            exchange(association, there, b"LocalHost.", b"name")
    end = started.wait_for("end", cmd="udp", cause="client-closed", reply=0)
    assert (end["sent"], end["received"], end["dropped"], end["denied"]) == ("12", "12", "0", "0")
    assert end["up"] == end["down"] == str(2 * len("IPv4IPv6mappedan address as textname"))


def test_a_remote_sees_one_port_whatever_the_client_does(server: Start) -> None:
    with Association(server().endpoint) as association, remote() as one, remote() as two:
        sources = set()
        for sock in (one, two, one):
            association.send(b"x", "127.0.0.1", port_of(sock))
            sources.add(sock.recvfrom(9)[1])
        assert len(sources) == 1


def test_the_largest_datagram_that_fits(server: Start, there: socket.socket) -> None:
    with Association(server().endpoint) as association:
        exchange(association, there, "127.0.0.1", os.urandom(LONGEST))


def test_a_client_of_ipv6(server: Start, there: socket.socket) -> None:
    with Association(server(listen=("[::1]:0",)).endpoint) as association:
        assert association.reply.host == "::1"
        exchange(association, there, "127.0.0.1", b"hello")


def test_many_datagrams_in_one_turn_keep_their_order(server: Start, there: socket.socket) -> None:
    with Association(server().endpoint) as association:
        exchange(association, there, "127.0.0.1", b"first")
        numbers = [number.to_bytes(2, "big") for number in range(100)]
        for number in numbers:
            association.send(number, "127.0.0.1", port_of(there))
        got = [there.recvfrom(9) for _ in numbers]
        assert [data for data, _ in got] == numbers
        for number in numbers:
            there.sendto(number, got[0][1])
        assert [association.receive().payload for _ in numbers] == numbers


@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_port_is_gone_with_the_connection(server: Start, there: socket.socket, how: str) -> None:
    started = server("--workers", "1")
    with Association(started.endpoint) as association:
        exchange(association, there, "127.0.0.1", b"hello")
        before = descriptors(started.workers[0])
        if how == "reset":
            association.control.reset()
        else:
            association.control.sock.close()
        started.wait_for("end", cmd="udp", cause="client-closed" if how == "close" else "client-reset")
        association.sock.connect(association.relay)
        association.sock.send(header("127.0.0.1", port_of(there)))
        with pytest.raises(ConnectionRefusedError):  # ICMP's answer
            association.sock.recv(9)
        assert eventually(lambda: descriptors(started.workers[0]) == before - 3)


def test_an_idle_association_ends(server: Start, there: socket.socket) -> None:
    started = configured(server, idle="300ms")
    with Association(started.endpoint) as association:
        exchange(association, there, "127.0.0.1", b"hello")
        assert association.control.until_end() == b""
    assert started.wait_for("end", cmd="udp")["cause"] == "idle"


def test_what_is_said_on_the_connection_means_nothing(server: Start, there: socket.socket) -> None:
    with Association(server().endpoint) as association:
        association.control.sock.sendall(bytes(200_000))
        exchange(association, there, "127.0.0.1", b"hello")


def test_an_error_of_one_remote_is_not_the_end(server: Start, there: socket.socket) -> None:
    """ICMP says that nobody listens."""
    with Association(server().endpoint) as association:
        with remote() as gone:
            nobody = port_of(gone)
        for _ in range(3):
            association.send(b"anybody?", "127.0.0.1", nobody)
            exchange(association, there, "127.0.0.1", b"hello")


def test_a_client_that_says_its_port_is_taken_at_its_word(server: Start, there: socket.socket) -> None:
    with udp_socket() as said, udp_socket() as other:
        claim = ("127.0.0.1", port_of(said))
        with Association(server().endpoint, claim, sock=said) as association:
            other.sendto(header("127.0.0.1", port_of(there)) + b"no", association.relay)
            exchange(association, there, "127.0.0.1", b"yes")


def test_the_first_port_stays_the_clients(server: Start, there: socket.socket) -> None:
    with Association(server().endpoint) as association, udp_socket() as other:
        exchange(association, there, "127.0.0.1", b"first")
        other.sendto(header("127.0.0.1", port_of(there)) + b"no", association.relay)
        exchange(association, there, "127.0.0.1", b"second")


def test_a_locked_address_lets_the_port_change(server: Start, there: socket.socket) -> None:
    started = configured(server, 'lock = "address"')
    with Association(started.endpoint) as association:
        exchange(association, there, "127.0.0.1", b"first")
        association.sock.close()
        association.sock = udp_socket()
        exchange(association, there, "127.0.0.1", b"second")


def test_answers_come_from_where_the_client_has_sent_to(server: Start, there: socket.socket) -> None:
    with Association(server().endpoint) as association, remote() as stranger:
        association.send(b"x", "127.0.0.1", port_of(there))
        _, source = there.recvfrom(9)
        stranger.sendto(b"no", source)
        there.sendto(b"yes", source)
        assert association.receive().payload == b"yes"
        exchange(association, stranger, "127.0.0.1", b"now it may")


def test_accept_any_lets_everybody_answer(server: Start, there: socket.socket) -> None:
    started = configured(server, 'accept = "any"')
    with Association(started.endpoint) as association, remote() as stranger:
        association.send(b"x", "127.0.0.1", port_of(there))
        _, source = there.recvfrom(9)
        stranger.sendto(b"hello", source)
        assert association.receive() == Datagram("127.0.0.1", port_of(stranger), b"hello")


def test_the_ports_of_a_range_and_no_other(server: Start) -> None:
    ports = free_ports(3)
    started = configured(server, f'ports = "{ports[0]}-{ports[-1]}", advertise = "203.0.113.7"')
    with Association(started.endpoint) as one, Association(started.endpoint) as two:
        assert {one.reply.host, two.reply.host} == {"203.0.113.7"}
        assert {one.reply.port, two.reply.port} <= set(ports)
        with Association(started.endpoint), Client(started.endpoint) as fourth:
            fourth.greet()
            assert fourth.request("0.0.0.0", 0, ASSOCIATE).code == 1
            assert started.wait_for("end", cmd="udp", cause="no-resources")["hint"].startswith("udp.ports")


def test_a_listener_may_bind_elsewhere(server: Start, there: socket.socket) -> None:
    started = configured(server, 'bind = "127.0.0.2"')
    with Association(started.endpoint) as association:
        assert association.reply.host == "127.0.0.2"
        exchange(association, there, "127.0.0.1", b"hello")


def test_fragments_are_put_together(server: Start, there: socket.socket) -> None:
    with Association(server().endpoint) as association:
        for number, piece in ((1, b"one "), (2, b"two "), (3 | LAST, b"three")):
            association.send(piece, "127.0.0.1", port_of(there), number)
        assert there.recvfrom(99)[0] == b"one two three"
        association.send(b"lost", "127.0.0.1", port_of(there), 1)
        exchange(association, there, "127.0.0.1", b"a whole one abandons the sequence")
        association.send(b"lost", "127.0.0.1", port_of(there), 2 | LAST)
        exchange(association, there, "127.0.0.1", b"so this is next")


def test_what_no_datagram_can_hold_comes_back_in_fragments_to_those_who_use_them(
    server: Start, there: socket.socket
) -> None:
    payload = os.urandom(65_507)
    with Association(server().endpoint) as association:
        association.send(b"x", "127.0.0.1", port_of(there))
        _, source = there.recvfrom(9)
        there.sendto(payload, source)
        there.sendto(b"small", source)
        assert association.receive().payload == b"small"  # the large one had no room
        association.send(b"x", "127.0.0.1", port_of(there), 1 | LAST)
        there.recvfrom(9)
        there.sendto(payload, source)
        pieces = [association.receive() for _ in range(2)]
        assert [piece.fragment for piece in pieces] == [1, 2 | LAST]
        assert b"".join(piece.payload for piece in pieces) == payload


def test_fragments_are_dropped_where_the_listener_says_so(server: Start, there: socket.socket) -> None:
    started = configured(server, 'fragments = "drop"')
    with Association(started.endpoint) as association:
        association.send(b"no", "127.0.0.1", port_of(there), 1 | LAST)
        exchange(association, there, "127.0.0.1", b"yes")
    assert started.wait_for("end", cmd="udp")["dropped"] == "1"


def test_a_name_that_nobody_answers_for_holds_nobody_up(server: Start, there: socket.socket) -> None:
    started = server()
    lookup = started.lookup
    assert lookup is not None
    with Association(started.endpoint) as association:
        os.kill(lookup, signal.SIGSTOP)
        assert eventually(lambda: processes.status(lookup)["State"].startswith("T"))  # it takes effect later
        try:
            for name in (b"localhost", b"a.invalid", b"b.invalid", b"c.invalid", b"d.invalid", b"localhost"):
                association.send(b"waits", name, port_of(there))
                exchange(association, there, "127.0.0.1", b"passes")
        finally:
            os.kill(lookup, signal.SIGCONT)
        assert [there.recvfrom(9)[0] for _ in range(2)] == [b"waits", b"waits"]
    assert started.wait_for("end", cmd="udp")["sent"] == "8"


def test_no_udp_beside_a_unix_socket(server: Start, tmp_path: Path) -> None:
    path = f"{tmp_path}/socks"
    started = server(listen=(f"unix:{path}",))
    with Client(path) as client:
        client.greet()
        assert client.request("0.0.0.0", 0, ASSOCIATE).code == 7
    assert started.wait_for("end", cmd="udp")["cause"] == "unsupported"


def test_a_listener_without_udp(server: Start) -> None:
    text = CONFIG.format(udp="", idle="1h").replace("udp = {  }", 'commands = ["connect"]')
    started = server(config=text)
    with Client(started.endpoint) as client:
        client.greet()
        assert client.request("0.0.0.0", 0, ASSOCIATE).code == 7
    assert started.wait_for("end", cmd="udp")["hint"] == "commands: udp"


def test_an_association_is_ended_with_the_server(server: Start, there: socket.socket) -> None:
    started = server("--drain", "0s")
    with Association(started.endpoint) as association:
        exchange(association, there, "127.0.0.1", b"hello")
        started.stop()
        with contextlib.suppress(ConnectionResetError):
            assert association.control.until_end() == b""
    assert started.events("end", cmd="udp", cause="drained")


RULES = """
[server]
workers = 1
drain = "1s"
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[[rule]]
name = "no-names"
to = [".invalid"]
action = "deny"
[[rule]]
name = "one-port"
commands = ["udp"]
ports = [{port}]
action = "allow"
[limit.few]
per = "address"
associations = 2
[log]
level = "info"
"""


def test_rules_judge_every_datagram(server: Start, there: socket.socket) -> None:
    started = server(config=RULES.replace("{port}", str(port_of(there))))
    with Association(started.endpoint) as association, remote() as elsewhere:
        exchange(association, there, "127.0.0.1", b"allowed")
        association.send(b"no", "127.0.0.1", port_of(elsewhere))
        association.send(b"no", b"a.invalid", port_of(there))
        exchange(association, there, b"localhost", b"allowed by its name")
        assert is_empty(elsewhere)
        assert is_empty(there)
    assert started.wait_for("datagram-denied")["hint"] == "no rule allows it"
    assert started.wait_for("end", cmd="udp")["denied"] == "2"


def test_associations_of_one_client_can_be_limited(server: Start, there: socket.socket) -> None:
    started = server(config=RULES.replace("{port}", str(port_of(there))))
    with Association(started.endpoint), Association(started.endpoint):
        with Client(started.endpoint) as third:
            third.greet()
            assert third.request("0.0.0.0", 0, ASSOCIATE).code == 2
        assert started.wait_for("end", cmd="udp", cause="limited")["hint"].startswith("limit few")
    started.wait_for("end", cmd="udp", cause="client-closed")
    with Association(started.endpoint) as association:
        exchange(association, there, "127.0.0.1", b"hello")


# Real clients


OF_A_RULE = """
[limit.few]
per = "address"
associations = 1
[[rule]]
name = "scarce"
to = ["127.0.0.2"]
action = "allow"
limits = ["few"]
[[rule]]
name = "rest"
action = "allow"
"""


def test_the_limits_of_a_rule_hold_for_associations_that_write_where_it_allows(
    server: Start,
) -> None:
    started = server(config=CONFIG.format(udp="", idle="1h") + OF_A_RULE)
    with remote("127.0.0.2") as scarce, remote("127.0.0.1") as rest:

        def reaches(association: Association, there: socket.socket, host: str) -> bool:
            association.send(b"ping", host, port_of(there))
            association.send(b"mark", "127.0.0.1", port_of(rest))
            while rest.recvfrom(100)[0] != b"mark":
                pass
            return not is_empty(there) and there.recvfrom(100)[0] == b"ping"

        with Association(started.endpoint) as second:
            with Association(started.endpoint) as first:
                assert reaches(first, scarce, "127.0.0.2")
                assert not reaches(second, scarce, "127.0.0.2")
                assert started.wait_for("datagram-denied")["hint"] == "limit few: 1 associations"
            started.wait_for("end", cmd="udp")
            with Association(started.endpoint) as third:
                assert reaches(third, scarce, "127.0.0.2"), "the first one's place is free again"


def test_pysocks(server: Start, there: socket.socket) -> None:
    started = server()
    with socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE)
        client.set_proxy(socks.SOCKS5, *started.endpoint)
        client.sendto(b"hello", ("localhost", port_of(there)))
        data, source = there.recvfrom(99)
        there.sendto(data[::-1], source)
        assert client.recvfrom(99) == (b"olleh", ("127.0.0.1", port_of(there)))
    started.wait_for("end", cmd="udp", sent=1, received=1)
