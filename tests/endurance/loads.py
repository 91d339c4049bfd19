"""The loads: each kind runs in a process of its own, in some threads, until its standard input ends.

Every session is judged where it is made, and told in one line of JSON: its kind, when it began and ended
(monotonic clock), how many bytes of its own went each way, and how it ended. `ok`: all as it should be.
`wrong`: a byte that should not be there, or is missing although the end was clean; nothing excuses that.
`unreachable`: the server did not accept; nothing excuses that either. `cut`: broken off. `refused`: a reply
that says no. `slow`: no progress for a minute.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.endurance.origin import DIGEST, ECHO, LENGTH, SOURCE
from tests.system import client as socks
from tests.system import origins
from tests.system.client import Client
from tests.system.server import environment

KIB, MIB = 1024, 1024 * 1024
PATIENCE = 60.0
LOOK = 0.5  # seconds after which a silent session looks whether the load is to end
USER, PASSWORD = b"soak", b"correct horse"


class Wrong(Exception):
    """Bytes that should not be there, or are missing."""


class Cut(Exception):
    """The session was broken off."""


class Refused(Exception):
    """The server's reply was not the one that it should be."""


@dataclass
class Session:
    """One session under way: how many of the load's own bytes went each way."""

    chance: random.Random
    proxy: tuple[str, int]
    origin: int
    web: int
    stop: threading.Event
    slow: float = 1.0  # how many times the usual rests it takes
    up: int = 0
    down: int = 0
    client: Client | None = field(default=None)

    def open(self, wish: bytes, user: bytes | None = USER) -> Client:
        """Connect through the server and tell the origin what is wanted."""
        self.client = client = Client(self.proxy, PATIENCE)
        method = socks.NO_AUTH if user is None else socks.PASSWORD
        if client.greet(method) != method:
            raise Refused("no method")
        if user is not None and client.authenticate(user, PASSWORD) != 0:
            raise Refused("password")
        self.ask(client, wish)
        return client

    def ask(self, client: Client, wish: bytes) -> None:
        """Send the request and what the origin is told, in one segment."""
        client.sock.sendall(socks.request("127.0.0.1", self.origin) + wish)
        reply = client.read_reply()
        if reply.code:
            raise Refused(f"reply {reply.code}")
        self.up += len(wish)

    def exchange(self, data: bytes) -> None:
        """Send bytes and have them come back."""
        assert self.client
        self.client.sock.sendall(data)
        self.up += len(data)
        self.take(data)

    def take(self, expected: bytes | memoryview) -> None:
        """Receive exactly these bytes."""
        assert self.client
        place = 0
        while place < len(expected):
            data = self.client.sock.recv(min(origins.CHUNK, len(expected) - place))
            if data != expected[place : place + len(data)]:
                raise Wrong(f"byte {self.down} and on")
            if not data:
                raise ConnectionResetError("ended early")
            place += len(data)
            self.down += len(data)

    def end(self) -> None:
        """Nothing but the end may come."""
        assert self.client
        if self.client.sock.recv(1):
            raise Wrong("bytes after the last one")

    def pause(self, shortest: float, longest: float) -> None:
        """Do nothing for a while, less when the load is to end."""
        self.stop.wait(self.slow * self.chance.uniform(shortest, longest))

    def watch(self, shortest: float, longest: float) -> None:
        """Be silent for a while, and see at once when the tunnel ends or speaks."""
        assert self.client
        until = time.monotonic() + self.chance.uniform(shortest, longest)
        poller = select.poll()
        poller.register(self.client.sock, select.POLLIN)
        while not self.stop.is_set() and (left := until - time.monotonic()) > 0:
            if poller.poll(min(left, LOOK) * 1000):
                self.end()
                raise ConnectionResetError("ended early")


def small(session: Session) -> None:
    """A few small questions and answers."""
    session.open(ECHO, session.chance.choice([None, USER]))
    for _ in range(session.chance.randrange(1, 6)):
        session.exchange(session.chance.randbytes(session.chance.randrange(1, 2000)))


def bulk_down(session: Session) -> None:
    """A large download."""
    size = session.chance.randrange(1, 24 * MIB)
    session.open(SOURCE + LENGTH.pack(size))
    for piece in origins.pattern(size):
        session.take(piece)
    session.end()
    session.pause(0.5, 2)


def bulk_up(session: Session) -> None:
    """A large upload, of which the far end gives the checksum."""
    size = session.chance.randrange(1, 16 * MIB)
    client = session.open(DIGEST)
    digest = hashlib.sha256()
    for piece in origins.pattern(size):
        client.sock.sendall(piece)
        session.up += len(piece)
        digest.update(piece)
    client.sock.shutdown(socket.SHUT_WR)
    session.take(digest.digest())
    session.end()
    session.pause(0.5, 2)


def idle(session: Session) -> None:
    """A tunnel that is silent most of its life."""
    session.open(ECHO)
    for _ in range(session.chance.randrange(2, 5)):
        session.exchange(session.chance.randbytes(100))
        session.watch(1, 20)


def half_closed(session: Session) -> None:
    """The client ends its direction first, and the answer still comes."""
    client = session.open(ECHO)
    data = session.chance.randbytes(session.chance.randrange(1, 300 * KIB))
    sender = threading.Thread(target=_send_and_end, args=(client.sock, data))
    sender.start()
    try:
        session.take(data)
        session.end()
    finally:
        sender.join(PATIENCE)
    session.up += len(data)


def _send_and_end(sock: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)


def byte_by_byte(session: Session) -> None:
    """The handshake, the request and the data in single bytes."""
    session.client = client = Client(session.proxy, PATIENCE)
    client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in socks.greeting(socks.NO_AUTH, socks.PASSWORD):
        client.sock.sendall(bytes((byte,)))
    if client.exactly(2)[1] != socks.PASSWORD:
        raise Refused("no method")
    for byte in socks.credentials(USER, PASSWORD):
        client.sock.sendall(bytes((byte,)))
    if client.exactly(2)[1]:
        raise Refused("password")
    for byte in socks.request("127.0.0.1", session.origin) + ECHO:
        client.sock.sendall(bytes((byte,)))
    if client.read_reply().code:
        raise Refused("reply")
    session.up += 1
    for byte in session.chance.randbytes(200):
        session.exchange(bytes((byte,)))
    session.pause(0.1, 0.5)


def denied(session: Session) -> None:
    """A wrong password, or a port where nobody listens: refused as it should be."""
    client = session.client = Client(session.proxy, PATIENCE)
    if session.chance.random() < 0.5:
        if client.greet(socks.PASSWORD) != socks.PASSWORD:
            raise Refused("no method")
        if client.authenticate(USER, b"wrong horse") == 0:
            raise Wrong("a wrong password was taken")
        session.pause(1, 3)  # a hash costs what hundreds of sessions do
        return
    if client.greet(socks.NO_AUTH) != socks.NO_AUTH:
        raise Refused("no method")
    code = client.request("127.0.0.1", 1).code
    if code != 5:
        raise Refused(f"reply {code} in place of 5")
    session.pause(0.2, 1)


def leaving(session: Session) -> None:
    """A client that resets, or goes away in the middle of something."""
    client = session.open(SOURCE + LENGTH.pack(4 * MIB))
    session.take(memoryview(origins.BLOCK)[: session.chance.randrange(1, 200 * KIB)])
    if session.chance.random() < 0.5:
        client.reset()
    session.pause(0.2, 1)


def curl(session: Session) -> None:
    """Debian's curl downloads a file."""
    size = session.chance.randrange(1, 4 * MIB)
    host, port = session.proxy
    words = (
        "curl", "-q", "-sS", "--fail", "--noproxy", "", "--max-time", str(PATIENCE), "-4",
        "--proxy", f"socks5h://{host}:{port}", "--proxy-user", f"{USER.decode()}:{PASSWORD.decode()}",
        f"http://localhost:{session.web}/bytes/{size}",
    )  # fmt: skip
    done = subprocess.run(words, capture_output=True, check=False, env=environment())
    if done.returncode == 0 and done.stdout != b"".join(origins.pattern(size)):
        raise Wrong("curl received other bytes")
    session.down += len(done.stdout)
    said = done.stderr.decode(errors="replace").strip()
    if REJECTED in said:
        raise Refused("password")
    if done.returncode:
        raise CURL_ENDS.get(done.returncode, Cut)(said)
    session.pause(0.2, 1)


# curl(1), EXIT CODES: could not connect, operation timeout; an answer of the proxy with "(n)" in it is told
# as 97, as is a proxy that ends in the middle of the handshake.
REJECTED = "rejected by the SOCKS5 server"
CURL_ENDS: dict[int, type[Exception]] = {7: ConnectionRefusedError, 28: TimeoutError}

# Each kind, in how many threads, and how long a thread rests between two sessions, in seconds at most.
KINDS: dict[str, tuple[Callable[[Session], None], int, float]] = {
    "small": (small, 6, 0.2),
    "bulk-down": (bulk_down, 2, 0.5),
    "bulk-up": (bulk_up, 2, 0.5),
    "idle": (idle, 40, 2.0),
    "half-closed": (half_closed, 3, 0.5),
    "byte-by-byte": (byte_by_byte, 2, 0.5),
    "denied": (denied, 2, 0.5),
    "leaving": (leaving, 2, 0.5),
    "curl": (curl, 2, 0.5),
}


def judged(kind: str, session: Session) -> tuple[str, str]:
    """Run one session; return how it ended and what there is to say about it."""
    try:
        KINDS[kind][0](session)
    except Wrong as error:
        return "wrong", str(error)
    except Refused as error:
        return "refused", str(error)
    except ConnectionRefusedError as error:
        return "unreachable", str(error)
    except TimeoutError:
        return "slow", ""
    except (OSError, EOFError, Cut) as error:
        return "cut", f"{type(error).__name__}: {error}"
    finally:
        if session.client is not None:
            session.client.sock.close()
    return "ok", ""


def run(kind: str, proxy: tuple[str, int], origin: int, web: int, seed: int, slow: float) -> None:
    """One kind's threads, until standard input ends."""
    stop = threading.Event()
    telling = threading.Lock()

    def live(number: int) -> None:
        chance = random.Random(f"{seed} {kind} {number}")
        while not stop.is_set():
            session = Session(chance, proxy, origin, web, stop, slow)
            began = time.monotonic()
            how, text = judged(kind, session)
            line = {
                "kind": kind, "began": began, "ended": time.monotonic(), "how": how, "text": text,
                "up": session.up, "down": session.down,
            }  # fmt: skip
            with telling:
                print(json.dumps(line), flush=True)
            stop.wait(slow * chance.uniform(0, KINDS[kind][2]))

    threads = [threading.Thread(target=live, args=(number,)) for number in range(KINDS[kind][1])]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join(2 * PATIENCE)


if __name__ == "__main__":
    _, name, host, *numbers, rests = sys.argv
    port, origin_port, web_port, its_seed = map(int, numbers)
    run(name, (host, port), origin_port, web_port, its_seed, float(rests))
