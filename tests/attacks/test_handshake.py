"""A handshake that is slow, cut, crowded, out of order, too early or not one at all."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from forksocks.wire.foreign import BAD_REQUEST
from tests.attacks.clients import client_of, write_users
from tests.system import processes
from tests.system.client import NO_ACCEPTABLE, NO_AUTH, PASSWORD, Client, credentials, greeting, request
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import Server, running

NOWHERE = b"\x00\x01" + bytes(6)  # of a reply: BND.ADDR 0.0.0.0, BND.PORT 0
RIGHT = credentials(b"alice", b"secret")
WRONG = credentials(b"alice", b"guess")
PATIENT = """
[server]
workers = 1
threads = 32
hang = "5m"
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[auth]
users = "{users}"
[timeouts]
handshake = "1m"
"""


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users"
    write_users(path, alice=b"secret")
    return path


@pytest.fixture(scope="module")
def open_server() -> Iterator[Server]:
    """Serves without a password."""
    with running("-vv", "--workers", "1") as started:
        yield started


@pytest.fixture(scope="module")
def closed_server(users: Path) -> Iterator[Server]:
    """Serves whoever has a password."""
    with running("-vv", "--workers", "1", "--users", str(users)) as started:
        yield started


def answer(server: Server, *parts: bytes, end: bool = True) -> bytes:
    """Send the parts in segments of their own; everything that comes back until the server closes.

    end: whether the client says that it has said everything.
    """
    with client_of(server) as client:  # of a new address: nobody is banned for the one before
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            client.sock.sendall(part)
        if end:
            client.sock.shutdown(socket.SHUT_WR)
        return client.until_end()


def whole(origin: Origin) -> bytes:
    """All that a client with a password says until its tunnel is open, and the first bytes through it."""
    return greeting(NO_AUTH, PASSWORD) + RIGHT + request(origin.host, origin.port) + b"early bytes"


def test_everything_in_one_segment_and_cut_at_every_byte(closed_server: Server, echo: Origin) -> None:
    message = whole(echo)
    for cut in range(len(message)):
        got = answer(closed_server, message[:cut], message[cut:])
        assert got[:6] == b"\x05\x02\x01\x00\x05\x00", cut
        assert got[14:] == b"early bytes", cut
    assert answer(closed_server, *(message[at : at + 1] for at in range(len(message))))[14:] == b"early bytes"


def test_a_handshake_that_ends_early_is_a_close_at_every_byte(closed_server: Server, echo: Origin) -> None:
    message = whole(echo).removesuffix(b"early bytes")
    for cut in range(len(message)):
        assert answer(closed_server, message[:cut]) in (b"", b"\x05\x02", b"\x05\x02\x01\x00"), cut
    assert echo.peers == []


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        # What came before its sender was let in is dropped.
        ([greeting(PASSWORD), WRONG, request("127.0.0.1", 1)], b"\x05\x02\x01\x01"),
        ([greeting(PASSWORD), request("127.0.0.1", 1)], b"\x05\x02\x01\x01"),
        ([greeting(NO_AUTH), request("127.0.0.1", 1)], bytes((5, NO_ACCEPTABLE))),
        ([greeting(NO_AUTH, PASSWORD), WRONG], b"\x05\x02\x01\x01"),
        # A name or a password of no bytes.
        ([greeting(PASSWORD), credentials(b"", b"secret")], b"\x05\x02\x01\x01"),
        ([greeting(PASSWORD), credentials(b"alice", b"")], b"\x05\x02\x01\x01"),
        ([greeting(PASSWORD), credentials(b"", b"")], b"\x05\x02\x01\x01"),
        ([greeting(PASSWORD), b"\x05" + RIGHT[1:]], b"\x05\x02\x01\x01"),
    ],
)
def test_nobody_is_let_in_without_the_password(
    closed_server: Server, echo: Origin, message: Sequence[bytes], wanted: bytes
) -> None:
    mine = [part.replace(request("127.0.0.1", 1), request(echo.host, echo.port)) for part in message]
    assert answer(closed_server, *mine) == wanted
    assert answer(closed_server, b"".join(mine)) == wanted
    assert echo.peers == []


@pytest.mark.parametrize(
    ("message", "wanted", "cause"),
    [
        (b"\x05\x00", bytes((5, NO_ACCEPTABLE)), "protocol-error"),
        (b"\x05\x01\x80", bytes((5, NO_ACCEPTABLE)), "no-method"),
        (greeting() + request(b"", 80), b"\x05\x00\x05\x04" + NOWHERE, "bad-name"),
        (greeting() + request("127.0.0.1", 0), b"\x05\x00\x05\x02" + NOWHERE, "denied"),
        (greeting() + b"\x04" + request("127.0.0.1", 80)[1:], b"\x05\x00", "protocol-error"),
        (b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", BAD_REQUEST, "protocol-error"),
        (b"CONNECT example.com:443 HTTP/1.1\r\n\r\n", BAD_REQUEST, "protocol-error"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"", "protocol-error"),
        (b"\x00", b"", "protocol-error"),
        (b"\xff\xff", b"", "protocol-error"),
        (b"\x06\x01\x00", b"", "protocol-error"),
    ],
)
def test_what_is_no_request_is_answered_or_closed(
    open_server: Server, message: bytes, wanted: bytes, cause: str
) -> None:
    before = len(open_server.events("end", cause=cause))
    assert answer(open_server, message, end=False) == wanted
    assert eventually(lambda: len(open_server.events("end", cause=cause)) > before)


@pytest.mark.parametrize("behind", [0, 1, 60_000, 1_000_000])
def test_a_refused_client_reads_its_reply_whatever_it_sends_behind(open_server: Server, behind: int) -> None:
    with Client(open_server.endpoint) as client:
        refused = greeting() + request("127.0.0.1", 0)
        sender = threading.Thread(target=send_all, args=(client.sock, refused + bytes(behind)))
        sender.start()
        assert client.exactly(12) == b"\x05\x00\x05\x02" + NOWHERE
        if behind <= 60_000:
            assert client.until_end() == b"", "closed, not reset"
        client.sock.shutdown(socket.SHUT_RDWR) if behind <= 60_000 else client.sock.close()
        sender.join(processes.LONG)
        assert not sender.is_alive()


def send_all(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(data)


def test_one_deadline_for_silence_at_every_byte(server: Start, users: Path, echo: Origin) -> None:
    config = f"""
[server]
workers = 1
[[listen]]
bind = ["127.0.0.1:0"]
[auth]
users = "{users}"
[timeouts]
handshake = "1s"
[log]
level = "info"
"""
    started = server(config=config)
    message = whole(echo).removesuffix(b"early bytes")
    # On a busy machine the time may be over before the password has been looked at: that is a refusal.
    answers = (b"", b"\x05\x02", b"\x05\x02\x01\x00", b"\x05\x02\x01\x01")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(started.endpoint)) for _ in range(1, len(message))]
        for cut, client in enumerate(clients, 1):
            client.sock.sendall(message[:cut])
        for client in clients:
            assert client.until_end() in answers
    assert eventually(lambda: len(started.events("end")) == len(clients))
    ends = started.events("end", cause="handshake-timeout")
    assert len(ends) == len(clients)
    assert all(seconds(end["total"]) >= 1 for end in ends), "not before its time"
    (worker,) = started.workers
    assert eventually(lambda: re.search(r"\b0/", processes.title(worker))), "every thread is free"
    assert echo.peers == []


def test_a_byte_now_and_then_buys_no_time(server: Start) -> None:
    config = """
[server]
workers = 1
[[listen]]
bind = ["127.0.0.1:0"]
[timeouts]
handshake = "1s"
[log]
level = "info"
"""
    started = server(config=config)
    with Client(started.endpoint) as client:
        client.sock.sendall(b"\x05\xff")
        client.sock.settimeout(0.2)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 250:
                client.sock.sendall(b"\0")
                sent += 1
                with contextlib.suppress(TimeoutError):
                    assert client.sock.recv(1) == b""
                    break
    assert started.wait_for("end")["cause"] == "handshake-timeout"


def seconds(duration: str) -> float:
    return float(duration.removesuffix("ms")) / 1000 if duration.endswith("ms") else float(duration[:-1])


class Flood:
    """Connections that say one byte and nothing more, and come again whenever they are cut."""

    def __init__(self, endpoint: tuple[str, int], size: int, threads: int = 8) -> None:
        self._endpoint = endpoint
        self._share = size // threads
        self._over = threading.Event()
        self.cut = [0] * threads
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(processes.LONG)

    def _run(self, number: int) -> None:
        held: list[socket.socket] = []
        while not self._over.is_set():
            while len(held) < self._share and not self._over.is_set():
                sock = socket.create_connection(self._endpoint, timeout=processes.LONG)
                send_all(sock, b"\x05")
                sock.setblocking(False)
                held.append(sock)
            self._over.wait(0.02)
            gone = [sock for sock in held if is_closed(sock)]
            self.cut[number] += len(gone)
            for sock in gone:
                held.remove(sock)
                sock.close()
        for sock in held:
            sock.close()


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def elsewhere(server: Server) -> Client:
    """A client of another address than the flood's."""
    return Client(socket.create_connection(server.endpoint, processes.LONG, source_address=("127.0.0.2", 0)))


def test_a_flood_of_silent_clients_leaves_room_for_real_ones(
    server: Start, users: Path, echo: Origin
) -> None:
    started = server("--workers", "2", "--threads", "32", "--users", str(users), "-v")
    with Client(started.endpoint) as client:
        client.open(echo.host, echo.port, b"alice", b"secret")
    with Flood(started.endpoint, 100) as flood:
        assert eventually(lambda: sum(flood.cut) > 100), "silent ones are cut long before their ten seconds"
        for _ in range(10):
            with elsewhere(started) as client:
                client.open(echo.host, echo.port, b"alice", b"secret")
                assert client.exchange(b"hello") == b"hello"
        for worker in started.workers:
            assert processes.threads(worker) <= 32 + 3
        cut = sum(flood.cut)
        assert eventually(lambda: sum(flood.cut) > cut), "the flood goes on"
    started.stop()
    assert len(started.events("end", user="alice", reply=0)) == 11
    crowded = started.events("end", cause="crowded")
    assert crowded, "and the log says why"
    assert all(line["client"].startswith("127.0.0.1:") for line in crowded)


def test_who_waits_for_us_is_not_cut_for_those_we_wait_for(server: Start, users: Path, echo: Origin) -> None:
    """While nobody checks passwords, clients of one address that have said theirs outlast silent ones."""
    started = server(config=PATIENT.format(users=users))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(elsewhere(started)) for _ in range(8)]
        lookup = started.lookup
        assert lookup
        os.kill(lookup, signal.SIGSTOP)
        stack.callback(os.kill, lookup, signal.SIGCONT)
        for client in clients:
            assert client.greet(PASSWORD) == PASSWORD
            client.sock.sendall(RIGHT)
        with Flood(started.endpoint, 40) as flood:
            assert eventually(lambda: sum(flood.cut) > 40)
            os.kill(lookup, signal.SIGCONT)
            for client in clients:
                assert client.exactly(2) == b"\x01\x00"
                assert client.request(echo.host, echo.port).code == 0
                assert client.exchange(b"hello") == b"hello"


def test_silent_clients_never_hold_more_than_half_of_the_threads(server: Start, echo: Origin) -> None:
    started = server("--workers", "1", "--threads", "16", "-v")
    with contextlib.ExitStack() as stack:
        tunnels = [stack.enter_context(Client(started.endpoint)) for _ in range(7)]
        for tunnel in tunnels:
            tunnel.open(echo.host, echo.port)
        with Flood(started.endpoint, 40):
            for _ in range(3):
                with elsewhere(started) as client:
                    client.open(echo.host, echo.port)
                    assert client.exchange(b"hello") == b"hello"
            assert all(tunnel.exchange(b"still here") == b"still here" for tunnel in tunnels)
    started.stop()
    crowded = started.events("end", cause="crowded")
    assert min(seconds(end["total"]) for end in crowded) < 1, "at once, not after the second of grace"
