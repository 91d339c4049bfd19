"""Which method a client gets: the listener's order, among what it offers and what its address is good for."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.system.client import NO_ACCEPTABLE, NO_AUTH, PASSWORD, Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.programs import make_user
from tests.system.server import Server

GSSAPI = 1


def configuration(users: Path, auth: str, access: str = "") -> str:
    return (
        f'[server]\nworkers = 1\n[listen]\nbind = ["0.0.0.0:0"]\nauth = {auth}\n[auth]\nusers = "{users}"\n'
        f'[access]\nallow_to = ["@loopback"]\n{access}\n[log]\nlevel = "info"\n'
    ).replace("[listen]", "[[listen]]")


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    make_user(path, "alice", "secret")
    return path


def greet(server: Server, *methods: int, source: str = "127.0.0.1") -> int:
    with socket.create_connection(("127.0.0.1", server.port), source_address=(source, 0), timeout=60) as sock:
        sock.sendall(bytes((5, len(methods), *methods)))
        return sock.recv(2)[1]


@pytest.mark.parametrize(
    ("auth", "offered", "picked"),
    [
        ('["password", "none"]', (NO_AUTH, PASSWORD), PASSWORD),
        ('["none", "password"]', (PASSWORD, NO_AUTH), NO_AUTH),
        ('["password", "none"]', (NO_AUTH,), NO_AUTH),
        ('["none", "password"]', (PASSWORD, 0x80), PASSWORD),
        ('["password"]', (NO_AUTH, GSSAPI), NO_ACCEPTABLE),
        ('["none"]', (PASSWORD, GSSAPI, 0xFE), NO_ACCEPTABLE),
        ('["password"]', tuple(range(255)), PASSWORD),
    ],
)
def test_the_listener_prefers_among_what_is_offered(
    server: Start, users: Path, auth: str, offered: tuple[int, ...], picked: int
) -> None:
    text = configuration(users, auth)
    if "password" not in auth:
        text = text.replace(f'[auth]\nusers = "{users}"\n', "")
    started = server(config=text)
    assert greet(started, *offered) == picked
    if picked == NO_ACCEPTABLE:
        assert started.wait_for("end")["cause"] == "no-method"


def test_an_address_may_do_without_a_password(server: Start, users: Path, echo: Origin) -> None:
    access = 'without_password = ["127.0.0.9"]'
    started = server(config=configuration(users, '["none", "password"]', access))
    assert greet(started, NO_AUTH, PASSWORD, source="127.0.0.9") == NO_AUTH
    assert greet(started, NO_AUTH, PASSWORD, source="127.0.0.8") == PASSWORD
    with Client(("127.0.0.1", started.port)) as client:
        client.open(echo.host, echo.port, b"alice", b"secret")
    with Client(("127.0.0.1", started.port)) as client:  # it insists, and is told
        assert client.greet(NO_AUTH) == NO_AUTH
        assert client.request(echo.host, echo.port).code == 2
    started.wait_for("end", cause="denied", reply=2)


def test_closed_after_no_acceptable_method(server: Start, users: Path) -> None:
    started = server(config=configuration(users, '["password"]'))
    with Client(("127.0.0.1", started.port)) as client:
        assert client.greet(NO_AUTH) == NO_ACCEPTABLE
        assert client.until_end() == b""
