"""Name servers that are dead, slow, lying or flapping: who asks them is told in time, nobody else notices."""

from __future__ import annotations

import contextlib
import random
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.system import origins, processes
from tests.system.client import Client
from tests.system.island import NEXT_V4, RESOLV_CONF, Island
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import Server, running

CONFIG = """
[server]
workers = 1
threads = 128
[[listen]]
bind = ["127.0.0.1:0"]
[timeouts]
resolve = "2s"
[log]
level = "info"
"""
NOBODY, OTHERS = "127.0.0.1", [f"127.0.0.{number}" for number in range(2, 9)]
# The system's resolver gives up much later than we do; without attempts left, so that a test can end.
PATIENT = RESOLV_CONF.replace("timeout:5", "timeout:10")


@pytest.fixture
def patient(island: Island) -> Iterator[None]:
    path = island.etc / "resolv.conf"
    path.write_text(PATIENT)
    yield
    path.write_text(RESOLV_CONF)


@pytest.fixture
def server(island: Island, tmp_path: Path) -> Iterator[Server]:
    config = tmp_path / "forksocks.toml"
    config.write_text(CONFIG)
    with running(config=config, inside=island.home.enter) as started:
        yield started


@pytest.fixture
def far(island: Island) -> Iterator[Origin]:
    """An echo on the internet, which good.example leads to."""
    island.dns.say("good.example", [NEXT_V4])
    island.dns.say("silent.example", None)
    with origins.serving(origins.echo, listener=island.internet.listen(NEXT_V4)) as origin:
        yield origin


def come(island: Island, server: Server, source: str) -> Client:
    return Client(island.home.connect(*server.endpoint, source=source))


def ask(island: Island, server: Server, source: str, host: str, port: int) -> int:
    """Ask for a tunnel and use it; the reply."""
    with come(island, server, source) as client:
        client.greet()
        code = client.request(host, port).code
        assert code or client.exchange(b"hello") == b"hello"
        return code


@contextlib.contextmanager
def asking(
    island: Island, server: Server, sources: Sequence[str], each: int, host: str
) -> Iterator[list[Client]]:
    """Clients that have asked for a tunnel by a name, and wait."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(come(island, server, source)) for source in sources for _ in range(each)
        ]
        for client in clients:
            client.greet()
            name = host.encode()
            client.sock.sendall(b"\5\1\0\3" + bytes((len(name),)) + name + b"\0\x50")
        yield clients


@pytest.mark.usefixtures("patient")
def test_one_clients_dead_names_delay_nobody_else(island: Island, server: Server, far: Origin) -> None:
    with asking(island, server, [NOBODY], 60, "silent.example") as stuck:
        for source in OTHERS:
            assert ask(island, server, source, "good.example", far.port) == 0
        assert ask(island, server, NOBODY, NEXT_V4, far.port) == 0
        assert {client.read_reply().code for client in stuck} == {4}
    assert eventually(lambda: ask(island, server, NOBODY, "good.example", far.port) == 0)
    failed = server.events("end", cause="dns-failed", to="silent.example:80")
    assert len(failed) == 60


@pytest.mark.usefixtures("patient")
def test_when_every_look_up_is_stuck_addresses_are_served_and_names_are_told_in_time(
    island: Island, server: Server, far: Origin
) -> None:
    before = processes.threads(server.workers[0])
    with asking(island, server, OTHERS, 8, "silent.example") as stuck:
        for _ in range(5):
            assert ask(island, server, NOBODY, NEXT_V4, far.port) == 0
        assert ask(island, server, NOBODY, "good.example", far.port) in (0, 4)
        assert {client.read_reply().code for client in stuck} == {4}
    assert eventually(lambda: ask(island, server, NOBODY, "good.example", far.port) == 0)
    assert eventually(lambda: processes.threads(server.workers[0]) <= before + 8), "a few wait for the next"


def test_one_that_comes_and_goes(island: Island, server: Server, far: Origin) -> None:
    island.dns.say("flapping.example", *[None, [NEXT_V4], [], [NEXT_V4], None, None, []] * 5, [NEXT_V4])
    codes = []

    def is_there() -> bool:
        codes.append(ask(island, server, NOBODY, "flapping.example", far.port))
        return codes[-5:] == [0] * 5

    over = threading.Event()

    def ask_for_others() -> None:
        while not over.is_set():
            others.append(ask(island, server, OTHERS[0], "good.example", far.port))

    others: list[int] = []
    thread = threading.Thread(target=ask_for_others)
    thread.start()
    try:
        assert eventually(is_there)
    finally:
        over.set()
        thread.join()
    assert set(codes) == {0, 4}
    assert set(others) == {0}


def test_none_at_all(island: Island, server: Server, far: Origin) -> None:
    path = island.etc / "resolv.conf"
    path.write_text("nameserver 127.0.0.53\noptions timeout:1 attempts:1\n")  # nobody listens there
    try:
        assert ask(island, server, NOBODY, "good.example", far.port) == 4
        assert ask(island, server, NOBODY, NEXT_V4, far.port) == 0
    finally:
        path.write_text(RESOLV_CONF)
    assert eventually(lambda: ask(island, server, NOBODY, "good.example", far.port) == 0)


def header(question: bytes, flags: int, answers: int) -> bytes:
    return question[:2] + struct.pack("!HHHHH", flags, 1, answers, 0, 0) + question[12:]


def itself(question: bytes) -> bytes:
    """An alias of itself (CNAME, RFC 1035 section 3.3.1), over and over."""
    return header(question, 0x8180, 200) + struct.pack("!HHHIHH", 0xC00C, 5, 1, 0, 2, 0xC00C) * 200


LIES = {
    "the question": lambda question: question,
    "another's answer": lambda question: bytes((question[0] ^ 1,)) + header(question, 0x8180, 0)[1:],
    "nothing": lambda question: b"",
    "half a header": lambda question: question[:7],
    "noise": lambda question: question[:2] + b"\x81\x80" + random.Random(len(question)).randbytes(300),
    "more than there is": lambda question: header(question, 0x8180, 65535),
    "an endless name": lambda question: header(question, 0x8180, 1) + b"\xc0" + bytes((len(question),)),
    "itself": itself,
    "refused": lambda question: header(question, 0x8185, 0),
    "broken": lambda question: header(question, 0x8182, 0),
    "cut, and so over TCP": lambda question: header(question, 0x8380, 0),
    "short addresses": lambda question: (
        header(question, 0x8180, 1) + struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 2) + b"\1\2"
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_one_that_says_nonsense(island: Island, server: Server, far: Origin, lie: str) -> None:
    island.dns.lies["lied.example"] = LIES[lie]
    agent = server.lookup
    with asking(island, server, OTHERS[:3], 5, "lied.example") as clients:
        assert ask(island, server, NOBODY, NEXT_V4, far.port) == 0
        assert {client.read_reply().code for client in clients} == {4}
    assert ask(island, server, NOBODY, "good.example", far.port) == 0
    assert server.lookup == agent
