"""Tor's RESOLVE and RESOLVE_PTR, byte by byte on an island, and from Debian's tor-resolve."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.client import Client, Reply
from tests.system.conftest import Start
from tests.system.island import Island
from tests.system.programs import run
from tests.system.server import Server, running

RESOLVE, RESOLVE_PTR = 0xF0, 0xF1
CONFIG = """
[server]
workers = 1
drain = "1s"
[[listen]]
bind = ["127.0.0.1:0"]
[timeouts]
resolve = "1s"
[log]
level = "info"
"""


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["localhost"], "127.0.0.1"),
        (["-4", "localhost"], "127.0.0.1"),
        (["-5", "localhost"], "127.0.0.1"),
        (["-x", "127.0.0.1"], "localhost"),
    ],
)
def test_tor_resolve(server: Start, words: list[str], answer: str) -> None:
    started = server()
    assert run("tor-resolve", *words, started.address).out.decode().split() == [answer]
    assert started.wait_for("end")["cause"] == "answered"


def test_tor_resolve_is_refused_what_may_not_be_reached(server: Start) -> None:
    started = server("--allow-to", "192.0.2.1")
    assert not run("tor-resolve", "localhost", started.address, status=None).out
    end = started.wait_for("end", cmd="resolve", cause="denied", reply=2)
    assert end["hint"] == "--allow-to @loopback"


@pytest.fixture(scope="module")
def here(island: Island, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Island, Server]]:
    island.dns.say("both.example", ["2a00:1450::7", "93.184.216.34"])
    island.dns.say("six.example", ["2a00:1450::7"])
    island.dns.say("mixed.example", ["10.0.0.1", "93.184.216.35"])
    island.dns.say("inside.example", ["10.0.0.1", "127.0.0.1"])
    island.dns.say("silent.example", None)
    config = tmp_path_factory.mktemp("server") / "forksocks.toml"
    config.write_text(CONFIG)
    with running(config=config, inside=island.home.enter) as started:
        yield island, started


def ask(here: tuple[Island, Server], command: int, host: str | bytes) -> tuple[Reply, bytes]:
    """Ask, and return the answer and what came behind it."""
    island, started = here
    with Client(island.home.connect(*started.endpoint)) as client:
        client.greet()
        return client.request(host, 0, command), client.until_end()


@pytest.mark.parametrize(
    ("host", "reply"),
    [
        ("both.example", (0, "93.184.216.34")),
        ("six.example", (0, "2a00:1450::7")),
        ("mixed.example", (0, "93.184.216.35")),
        ("93.184.216.36", (0, "93.184.216.36")),
        ("inside.example", (2, "0.0.0.0")),
        ("10.0.0.1", (2, "0.0.0.0")),
        ("unknown.example", (4, "0.0.0.0")),
        ("silent.example", (4, "0.0.0.0")),
        (b"a b", (4, "0.0.0.0")),
    ],
)
def test_names(here: tuple[Island, Server], host: str | bytes, reply: tuple[int, str]) -> None:
    assert ask(here, RESOLVE, host) == ((*reply, 0), b"")


@pytest.mark.parametrize(
    ("host", "code"), [("10.0.0.1", 2), ("127.0.0.1", 2), ("a.example", 8), ("93.184.216.99", 4)]
)
def test_addresses_that_have_no_name_for_a_client(here: tuple[Island, Server], host: str, code: int) -> None:
    assert ask(here, RESOLVE_PTR, host) == ((code, "0.0.0.0", 0), b"")


@pytest.mark.parametrize(
    ("written", "code"),
    [("good.example", 0), ("bad_but_allowed.example", 0), ("127.0.0.1", 4), ("-x.example", 4)],
)
def test_a_name_is_one_that_we_would_look_up(here: tuple[Island, Server], written: str, code: int) -> None:
    """Whoever owns an address says what its name is."""
    hosts = here[0].etc / "hosts"
    before = hosts.read_text()
    hosts.write_text(f"{before}\n93.184.216.77 {written}\n")
    try:
        reply, rest = ask(here, RESOLVE_PTR, "93.184.216.77")
    finally:
        hosts.write_text(before)
    assert (reply.code, rest) == (code, b"")
    assert reply.host == (written if code == 0 else "0.0.0.0")


def test_socks4a(server: Start) -> None:
    with Client(server().endpoint) as client:
        client.sock.sendall(struct.pack("!BBHI", 4, RESOLVE, 0, 1) + b"\0localhost\0")
        assert client.until_end() == b"\0\x5a\0\0\x7f\0\0\1"


def test_where_it_is_not_served(server: Start, tmp_path: Path) -> None:
    text = CONFIG.replace("[timeouts]", 'commands = ["connect"]\n[timeouts]')
    started = server(config=text)
    with Client(started.endpoint) as client:
        client.greet()
        assert client.request("localhost", 0, RESOLVE).code == 7
