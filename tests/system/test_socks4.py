"""SOCKS 4 and 4a through a real server, byte by byte, and from Debian's curl."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import pytest

from tests.system import origins
from tests.system.client import PATIENCE, Client
from tests.system.conftest import Start
from tests.system.origins import Origin, Web
from tests.system.processes import eventually
from tests.system.programs import make_user
from tests.system.server import Server
from tests.system.test_curl import curl, through

GRANTED, REFUSED = 90, 91
FAILED = bytes((0, REFUSED)) + bytes(6)


def ask(
    server: Server, host: str, port: int, user: bytes = b"", command: int = 1, name: bytes = b""
) -> Client:
    """Connect and send a request of version 4, or of 4a with a name."""
    client = Client(server.endpoint, PATIENCE)
    client.sock.sendall(struct.pack("!BBH4s", 4, command, port, socket.inet_aton(host)) + user + b"\0")
    if name:
        client.sock.sendall(name + b"\0")
    return client


@pytest.mark.parametrize(
    ("host", "name"), [("127.0.0.1", b""), ("0.0.0.1", b"localhost"), ("0.0.0.255", b"127.0.0.1")]
)
def test_connect(server: Start, echo: Origin, host: str, name: bytes) -> None:
    started = server()
    with ask(started, host, echo.port, b"alice", name=name) as client:
        version, code, port, address = struct.unpack("!BBH4s", client.exactly(8))
        assert (version, code) == (0, GRANTED)
        assert client.exchange(b"hello") == b"hello"
        assert echo.peers == [(socket.inet_ntoa(address), port)]
    end = started.wait_for("end", socks=4, cmd="connect", userid="alice", cause="client-closed", reply=0)
    assert end["to"] == f"{name.decode() or host}:{echo.port}"
    assert "user" not in end  # nothing has proven it


@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_curl(server: Start, web: Web, scheme: str) -> None:
    started = server()
    done = curl(*through(started, scheme, user="alice@"), web.url("/bytes/1000", host="localhost"))
    assert done.out == origins.BLOCK[:1000]
    assert started.wait_for("end", socks=4, userid="alice")["reply"] == "0"


def test_what_came_early_is_sent_on(server: Start, echo: Origin) -> None:
    with Client(server().endpoint) as client:
        client.sock.sendall(struct.pack("!BBH4s", 4, 1, echo.port, b"\x7f\0\0\1") + b"me\0hello")
        assert client.exactly(13)[8:] == b"hello"


@pytest.mark.parametrize(
    ("host", "port", "command", "cause"),
    [
        ("10.0.0.1", 80, 1, "denied"),
        ("0.0.0.0", 80, 1, "denied"),
        ("127.0.0.1", 0, 1, "denied"),
        ("127.0.0.1", 80, 2, "unsupported"),
        ("127.0.0.1", 80, 3, "unsupported"),
        ("127.0.0.1", 80, 9, "unsupported"),
    ],
)
def test_every_refusal_is_91(server: Start, host: str, port: int, command: int, cause: str) -> None:
    started = server("--allow-to", "127.0.0.0/8")
    with ask(started, host, port, command=command) as client:
        assert client.until_end() == FAILED
    assert started.wait_for("end", socks=4)["cause"] == cause


@pytest.mark.parametrize(
    ("name", "cause"), [(b"nowhere.invalid", "dns-failed"), (b"a..b", "bad-name"), (b"-oX", "bad-name")]
)
def test_a_name_that_leads_nowhere(server: Start, tmp_path: Path, name: bytes, cause: str) -> None:
    """In a name space of its own, where no name server is asked."""
    (tmp_path / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files\n")
    script = f'mount --bind {tmp_path}/nsswitch.conf /etc/nsswitch.conf && exec "$@"'
    inside = ["unshare", "-m" if os.geteuid() == 0 else "-rm", "--", "sh", "-c", script, "sh"]
    started = server(inside=inside)
    with ask(started, "0.0.0.1", 80, name=name) as client:
        assert client.until_end() == FAILED
    assert started.wait_for("end", socks=4)["cause"] == cause


def test_a_target_that_is_not_there(server: Start) -> None:
    started = server()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        with ask(started, "127.0.0.1", silent.getsockname()[1]) as client:
            assert client.until_end() == FAILED
    assert started.wait_for("end", socks=4)["cause"] == "refused"


def test_where_a_password_is_wanted_it_is_refused(server: Start, echo: Origin, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "alice", "secret")
    started = server("--users", f"{tmp_path}/users")
    for command, name in ((1, b""), (1, b"localhost"), (1, b"a b"), (9, b"")):
        host = "0.0.0.1" if name else "127.0.0.1"
        with ask(started, host, echo.port, b"alice", command, name) as client:
            assert client.until_end() == FAILED
    assert eventually(lambda: len(started.events("end", socks=4, cause="no-method")) == 4)
    assert started.wait_for("end")["hint"] == "SOCKS4 has no passwords"
    assert not echo.peers


@pytest.mark.parametrize(("protocols", "first"), [('"socks5"', b"\4\1"), ('"socks4"', b"\5\1")])
def test_a_listener_speaks_what_it_is_told(server: Start, protocols: str, first: bytes) -> None:
    text = f'[[listen]]\nbind = ["127.0.0.1:0"]\nprotocols = [{protocols}]\n[log]\nlevel = "info"\n'
    started = server(config=text)
    with Client(started.endpoint) as client:
        client.sock.sendall(first)
        assert client.until_end() == b""
    end = started.wait_for("end", cause="protocol-error")
    assert end["hint"] == f"version {first[0]}, expected {protocols[6]}"
