"""BIND through a real server (RFC 1928 section 4), and active FTP by a real client and a real server."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.client import BIND, Client, Reply
from tests.system.conftest import Start
from tests.system.datagrams import free_ports
from tests.system.processes import LONG, eventually
from tests.system.programs import run
from tests.system.server import Server, environment

CONFIG = """
[server]
workers = 1
drain = "1s"
sandbox = "{sandbox}"
[[listen]]
bind = ["127.0.0.1:0"]
commands = ["connect", "bind"]
bind_command = {{ {bind} }}
[access]
allow_to = ["@loopback"]
[timeouts]
bind = "{patience}"
[log]
level = "info"
"""


def configured(server: Start, bind: str = "", patience: str = "1h", sandbox: str = "off") -> Server:
    text = CONFIG.format(bind=bind, patience=patience, sandbox=sandbox)
    return server(*(("--user", "nobody") if sandbox == "require" else ()), config=text)


def ask(server: Server, host: str = "127.0.0.1") -> tuple[Client, Reply]:
    """Ask for BIND; return the client and the first reply."""
    client = Client(server.endpoint)
    client.greet()
    return client, client.request(host, 0, BIND)


def come(reply: Reply, source: str | None = None) -> socket.socket:
    """Be a peer that connects to where the first reply says."""
    source = source or reply.host
    return socket.create_connection((reply.host, reply.port), LONG, source_address=(source, 0))


def is_open(reply: Reply) -> bool:
    with contextlib.suppress(ConnectionRefusedError):
        come(reply).close()
        return True
    return False


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_two_replies_and_the_peer(server: Start, host: str) -> None:
    started = configured(server)
    client, first = ask(started, host)
    with client:
        loopback = "::1" if host == "::1" else "127.0.0.1"
        assert (first.code, first.host) == (0, loopback)
        assert first.port >= 1024
        with come(first) as peer:
            assert client.read_reply() == Reply(0, *peer.getsockname()[:2])
            client.sock.sendall(b"to the peer")
            assert peer.recv(99) == b"to the peer"
            peer.sendall(b"to the client")
            assert client.exactly(13) == b"to the client"
            assert not is_open(first)  # one connection
        assert client.until_end() == b""
    end = started.wait_for("end", cmd="bind")
    assert (end["reply"], end["up"], end["down"]) == ("0", "11", "13")
    assert end["cause"] == "target-closed"


def test_nobody_else_can_listen_on_its_port(server: Start) -> None:
    """Not even who asks to share it, and has the same user."""
    client, first = ask(configured(server))
    with client, socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            thief.bind((first.host, first.port))


def test_what_the_client_says_early_waits_for_the_peer(server: Start) -> None:
    client, first = ask(configured(server))
    with client:
        client.sock.sendall(b"early")
        with come(first) as peer:
            assert peer.recv(9) == b"early"


def test_it_has_to_be_asked_for(server: Start) -> None:
    started = server()
    client, reply = ask(started)
    with client:
        assert reply.code == 7
    assert started.wait_for("end", cmd="bind")["hint"] == "commands: bind"


def test_a_peer_that_does_not_come(server: Start) -> None:
    started = configured(server, patience="200ms")
    client, first = ask(started)
    with client:
        assert client.read_reply().code == 6
        assert client.until_end() == b""
    assert not is_open(first)
    assert started.wait_for("end", cmd="bind")["cause"] == "connect-timeout"


def test_a_client_that_goes_takes_its_port_along(server: Start) -> None:
    started = configured(server)
    for early in (b"", b"some bytes"):
        client, first = ask(started)
        client.sock.sendall(early)
        if early:
            client.reset()
        client.sock.close()
        assert started.wait_for("end", cmd="bind")["cause"] == "client-closed"
        assert eventually(lambda: not is_open(first))  # noqa: B023 - asked within the loop


def test_anyone_where_the_administrator_allows_it(server: Start) -> None:
    client, first = ask(configured(server, "any_peer = true"), "0.0.0.0")
    with client:
        assert (first.code, first.host) == (0, "127.0.0.1")
        with come(first, "127.0.0.2") as peer:
            assert client.read_reply() == Reply(0, *peer.getsockname())


@pytest.mark.parametrize("sandbox", ["off", "require"])
def test_the_ports_of_a_range_and_no_other(server: Start, sandbox: str) -> None:
    ports = free_ports(2)
    settings = f'ports = "{ports[0]}-{ports[-1]}", advertise = "203.0.113.7"'
    started = configured(server, settings, sandbox=sandbox)
    one, reply_one = ask(started)
    two, reply_two = ask(started)
    with one, two:
        assert {reply_one.host, reply_two.host} == {"203.0.113.7"}
        assert {reply_one.port, reply_two.port} == set(ports)
        third, reply = ask(started)
        with third:
            assert reply.code == 1
        assert started.wait_for("end", cmd="bind")["cause"] == "no-resources"
        with come(Reply(0, "127.0.0.1", reply_one.port)):
            assert one.read_reply().code == 0


def test_version_4(server: Start) -> None:
    with Client(configured(server).endpoint) as client:
        client.sock.sendall(struct.pack("!BBHI", 4, BIND, 0, 0x7F000001) + b"me\0")
        version, code, port, address = struct.unpack("!BBHI", client.exactly(8))
        assert (version, code, address) == (0, 90, 0x7F000001)
        with come(Reply(0, "127.0.0.1", port)) as peer:
            answer = struct.unpack("!BBHI", client.exactly(8))
            assert answer == (0, 90, peer.getsockname()[1], 0x7F000001)
            peer.sendall(b"hello")
            assert client.exactly(5) == b"hello"


# Real programs


@contextlib.contextmanager
def ftp_server(folder: Path) -> Iterator[int]:
    """An FTP server without users, pyftpdlib's; gives its port."""
    words = [sys.executable, "-m", "pyftpdlib", "-i", "127.0.0.1", "-p", "0", "-d", str(folder)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment()) as served:
        assert served.stderr
        try:
            for line in served.stderr:
                if found := re.search(r"starting FTP server on 127\.0\.0\.1:(\d+)", line):
                    yield int(found[1])
                    break
        finally:
            served.kill()


def test_active_ftp(server: Start, tmp_path: Path) -> None:
    """Debian's FTP client behind dante's client library: the data connection comes to the port of BIND."""
    files = tmp_path / "files"
    files.mkdir()
    content = bytes(range(256)) * 1000
    (files / "file").write_bytes(content)
    started = configured(server, "any_peer = true")
    settings = tmp_path / "socks.conf"
    settings.write_text(
        f"route {{ from: 0.0.0.0/0 to: 0.0.0.0/0 via: 127.0.0.1 port = {started.port}\n"
        "proxyprotocol: socks_v5\ncommand: connect bind\nmethod: none }\n"
    )
    with ftp_server(files) as port:
        run(
            "socksify", "tnftp", "-A", "-o", f"{tmp_path}/got", f"ftp://127.0.0.1:{port}/file",
            extra={"SOCKS_CONF": str(settings)},
        )  # fmt: skip
    assert (tmp_path / "got").read_bytes() == content
    assert int(started.wait_for("end", cmd="bind", reply=0)["down"]) == len(content)
