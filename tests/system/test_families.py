"""UDP and BIND where a client's own address is not plain: on a socket of both families, and on a link."""

from __future__ import annotations

import json
import socket
import struct
import sys
from collections.abc import Iterator

import pytest

from tests.system.client import ASSOCIATE, BIND, Client, Reply
from tests.system.conftest import Start
from tests.system.datagrams import Association, Datagram, header, parse, port_of, remote
from tests.system.island import NEXT_V4, Island, Machine
from tests.system.processes import LONG
from tests.system.server import Server, endpoint, running

# A socket of both families, handed over as systemd does (sd_listen_fds(3)); what follows becomes the server.
BOTH = """
import os, socket, sys
sock = socket.socket(socket.AF_INET6)
sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
sock.bind(("::", 0))
sock.listen()
os.dup2(os.dup(sock.fileno()), 3)
names = {"LISTEN_FDNAMES": "both", "LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execvpe(sys.argv[1], sys.argv[1:], os.environ | names)
"""
COMMANDS = """
commands = ["connect", "bind", "udp"]
bind_command = { any_peer = true }
"""
DUAL = f"""
[server]
drain = "1s"
[[listen]]
bind = ["systemd:both"]
{COMMANDS}
[access]
allow_to = ["@loopback"]
"""
LINK = f"""
[server]
drain = "1s"
[[listen]]
bind = ["[fe80::1%cable]:0"]
{COMMANDS}
[access]
allow_from = ["@link-local"]
allow_to = ["@link-local"]
"""


@pytest.fixture
def dual(server: Start) -> Server:
    return server(config=DUAL, inside=[sys.executable, "-c", BOTH])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_udp_of_either_family_on_a_socket_of_both(dual: Server, host: str) -> None:
    address = (host, endpoint(dual.addresses[0])[1])
    with remote() as there, Association(address) as association:
        assert association.reply.host == host
        association.send(b"hello", "127.0.0.1", port_of(there))
        there.sendto(b"and back", there.recvfrom(99)[1])
        assert association.receive() == Datagram("127.0.0.1", port_of(there), b"and back")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_bind_for_anyone_on_a_socket_of_both(dual: Server, host: str) -> None:
    with Client((host, endpoint(dual.addresses[0])[1])) as client:
        client.greet()
        first = client.request("0.0.0.0", 0, BIND)
        assert (first.code, first.host) == (0, host)
        with socket.create_connection((first.host, first.port), LONG) as peer:
            assert client.read_reply() == Reply(0, *peer.getsockname()[:2])


def test_bind_of_version_4_on_a_socket_of_both(dual: Server) -> None:
    with Client(("127.0.0.1", endpoint(dual.addresses[0])[1])) as client:
        client.sock.sendall(struct.pack("!BBHI", 4, BIND, 0, 0) + b"me\0")
        _, code, port, address = struct.unpack("!BBHI", client.exactly(8))
        assert (code, address) == (90, 0x7F000001)
        with socket.create_connection(("127.0.0.1", port), LONG) as peer:
            assert struct.unpack("!BBHI", client.exactly(8))[2] == peer.getsockname()[1]


@pytest.fixture(scope="module")
def linked(island: Island, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("server") / "forksocks.toml"
    config.write_text(LINK)
    island.home.ip("addr add fe80::1/64 dev cable nodad")
    island.internet.ip("addr add fe80::2/64 dev cable nodad")
    with running(config=config, inside=island.home.enter) as started:
        yield started


def on_the_link(machine: Machine, host: str, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket of a machine that is connected to an address on its cable."""
    (link,) = json.loads(machine.run("ip", "-json", "link", "show", "cable"))
    sock = machine.make_socket(socket.AF_INET6, kind)
    sock.settimeout(LONG)
    sock.connect((host, port, 0, link["ifindex"]))
    return sock


def test_udp_of_a_client_on_a_link(linked: Server, island: Island) -> None:
    port = endpoint(linked.addresses[0])[1]
    far = island.internet.listen(NEXT_V4, 0, socket.SOCK_DGRAM)
    with on_the_link(island.internet, "fe80::1", port) as sock, Client(sock) as control, far:
        control.greet()
        reply = control.request("::", 0, ASSOCIATE)
        assert (reply.code, reply.host) == (0, "fe80::1")
        with on_the_link(island.internet, reply.host, reply.port, socket.SOCK_DGRAM) as client:
            for payload in (b"hello", b"again"):
                client.sendall(header(NEXT_V4, port_of(far)) + payload)
                far.settimeout(LONG)
                data, source = far.recvfrom(99)
                far.sendto(data[::-1], source)
                assert parse(client.recv(99)) == Datagram(NEXT_V4, port_of(far), payload[::-1])


def test_udp_of_a_client_on_a_link_that_says_its_port(linked: Server, island: Island) -> None:
    port = endpoint(linked.addresses[0])[1]
    far = island.internet.listen(NEXT_V4, 0, socket.SOCK_DGRAM)
    with on_the_link(island.internet, "fe80::1", port) as sock, Client(sock) as control, far:
        control.greet()
        own = island.internet.make_socket(socket.AF_INET6, socket.SOCK_DGRAM)
        with own:
            own.bind(("::", 0))
            reply = control.request("fe80::2", port_of(own), ASSOCIATE)
            own.connect((reply.host, reply.port, 0, sock.getpeername()[3]))
            own.sendall(header(NEXT_V4, port_of(far)) + b"hello")
            far.settimeout(LONG)
            assert far.recv(99) == b"hello"


def test_bind_for_anyone_of_a_client_on_a_link(linked: Server, island: Island) -> None:
    port = endpoint(linked.addresses[0])[1]
    with on_the_link(island.internet, "fe80::1", port) as sock, Client(sock) as client:
        client.greet()
        first = client.request("::", 0, BIND)
        assert (first.code, first.host) == (0, "fe80::1")
        with on_the_link(island.internet, first.host, first.port) as peer:
            assert client.read_reply() == Reply(0, "fe80::2", peer.getsockname()[1])
            peer.sendall(b"hello")
            assert client.exactly(5) == b"hello"
