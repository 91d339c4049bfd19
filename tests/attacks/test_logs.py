"""What foreign text can do to the log and the titles: nothing. And every session has its one last line."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from tests.attacks.clients import client_of, write_users
from tests.system import processes
from tests.system.client import PASSWORD, Client, credentials, greeting, request
from tests.system.server import Server, running

LINE = re.compile(r"[ -~]{1,2048}")
TITLE = re.compile(r"forksocks: [a-z]+( \d+)?( \[[a-z0-9 ,./:\[\]]*\])?")

FOREIGN = [
    b"a\nb", b"a\r\nb end id=w1-1 client=192.0.2.9:1 cause=denied", b"\x1b]0;x\x07", b"\x9b2J",
    "\u202e".encode(), "\u2028".encode(), b"\xff", b'"', b'" client=192.0.2.9:1 x="', b"x from 192.0.2.9",
    b"\\", b'\\"', b"%s%n", b" ", b"\0", b"a=b", b"x" * 255, b"\xff" * 255,
]  # fmt: skip


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Wants a password, of whoever has one."""
    users = tmp_path_factory.mktemp("users") / "users"
    write_users(users, alice=b"secret")
    with running("-vvv", "--workers", "1", "--users", str(users)) as started:
        yield started


@pytest.fixture(scope="module")
def opened() -> Iterator[Server]:
    """Wants none, and lets nobody reach this machine."""
    with running("-vvv", "--workers", "1", "--allow-to", "@multicast") as started:
        yield started


def named(client: Client) -> str:
    """What the log calls it."""
    host, port = client.sock.getsockname()[:2]
    return f"{host}:{port}"


def lines_about(server: Server, name: str) -> list[str]:
    """All that the log has about a client, once its last line is there."""
    server.wait_for("end", client=name)
    return [line for line in server.log if f" client={name} " in line]


@pytest.mark.parametrize("text", FOREIGN, ids=lambda text: text[:12].hex())
def test_a_user_of_odd_characters_is_in_plain_lines(closed: Server, text: bytes) -> None:
    with client_of(closed) as client:
        name = named(client)
        client.sock.sendall(greeting(PASSWORD) + credentials(text, b"guess"))
        assert client.until_end() == b"\x05\x02\x01\x01"
    assert_plain(lines_about(closed, name), name, text)


@pytest.mark.parametrize("text", FOREIGN, ids=lambda text: text[:12].hex())
def test_a_host_of_odd_characters_is_in_plain_lines(opened: Server, text: bytes) -> None:
    with client_of(opened) as client:
        name = named(client)
        client.sock.sendall(greeting() + request(text, 80))
        assert client.exactly(4)[:2] == b"\x05\x00"
    assert_plain(lines_about(opened, name), name, text)


def assert_plain(lines: list[str], name: str, text: bytes) -> None:
    """Lines that no terminal, grep or filter misreads: the client is the first thing that is said of it."""
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    for line in lines:
        before = line.partition(f" client={name} ")[0]
        assert re.fullmatch(r"\S+ [a-z-]+( id=w1-[0-9a-f]+-[0-9a-f]+)?( listen=default)?", before), line
        for value in re.findall(r'(?:user|to)=("(?:[^"\\]|\\.)*"|[^ "]+)(?= |$)', line):
            assert value.startswith('"') or re.fullmatch(r"[!#-<>-~]*", value)
    assert sum(bool(re.match(r"\S+ end ", line)) for line in lines) == 1


@pytest.mark.parametrize(
    ("message", "cause", "hint"),
    [
        (greeting(0x80), "no-method", r"offered 80"),
        (b"GET / HTTP/1.0\r\n", "protocol-error", r"this is HTTP, not SOCKS"),
        (greeting() + b"\x05\x01\x00\x07", "unsupported", r"address type 7"),
        (greeting() + request("127.0.0.1", 80), "denied", r"--allow-to @loopback"),
        (greeting() + request("localhost", 80), "denied", r"--allow-to @loopback"),
        (greeting() + request("10.255.255.254", 80), "denied", r"--allow-to @(private|self)"),
        (greeting() + request("169.254.169.254", 80), "denied", r"--allow-to @(metadata|self)"),
        (greeting() + request("127.0.0.1", 0), "denied", r"port 0"),
        (greeting() + request("a b", 80), "bad-name", r"labels"),
        (greeting() + request("127.1", 80), "bad-name", r"IPv4"),
        (greeting() + request("224.0.0.1", 80), "unreachable|connect-failed", r"224\.0\.0\.1"),
        (greeting() + request("8.8.8.8", 80, 0x77), "unsupported", None),
        (greeting()[:2], "abandoned", None),
        (b"", "abandoned", None),
    ],
)
def test_every_end_is_one_line_with_its_cause_and_what_would_help(
    opened: Server, message: bytes, cause: str, hint: str | None
) -> None:
    with client_of(opened) as client:
        name = named(client)
        client.sock.sendall(message)
        client.sock.shutdown(socket.SHUT_WR)
        client.until_end()
    lines = lines_about(opened, name)
    (end,) = opened.events("end", client=name)
    assert re.fullmatch(cause, end["cause"])
    assert re.search(hint, end["hint"]) if hint else "hint" not in end
    assert {line.split()[2] for line in lines} == {f"id={end['id']}"}


def test_who_may_not_come_in_is_told_how() -> None:
    with running("--workers", "1", "--allow-from", "192.0.2.1") as server, client_of(server) as client:
        name = named(client)
        assert client.greet() == 0
        assert client.request("8.8.8.8", 80).code == 2
        end = server.wait_for("end", client=name)
        address = name.partition(":")[0]
        assert (end["cause"], end["hint"]) == (
            "denied",
            f"--allow-from 192.0.2.1/32,{address}, or --users FILE",
        )


@pytest.mark.parametrize("which", ["closed", "opened"])
def test_titles_are_numbers_and_our_own_words(request: pytest.FixtureRequest, which: str) -> None:
    server: Server = request.getfixturevalue(which)
    with client_of(server) as client:
        client.sock.sendall(greeting(PASSWORD, 0) + credentials(b"\x1b]0;x\x07", b"x"))
        for pid in server.pids:
            assert TITLE.fullmatch(processes.title(pid)), processes.title(pid)
