"""Clients and targets that stall, say half, close half or reset: what tests do, and `tests/soak 60 --abuse`.

Each kind of abuse is a function that takes a server and an origin, does its worst, and keeps what it holds
open on a stack: it is the server that has to end it, within the limits that are configured.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.system import origins, processes
from tests.system.client import ASSOCIATE, BIND, Client, greeting, request
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import Server

WORKERS, EACH = 2, 10
LINGER_ZERO = struct.pack("ii", 1, 0)
CONFIG = f"""
[server]
workers = {WORKERS}
[[listen]]
bind = ["127.0.0.1:0"]
commands = ["connect", "bind", "udp"]
[access]
allow_to = ["@loopback"]
[timeouts]
handshake = "5s"
idle = "5s"
half_closed = "5s"
udp_idle = "5s"
bind = "5s"
[log]
level = "debug"
"""


@dataclass(frozen=True)
class Scene:
    """A server, an origin that does as each connection's first byte says, and what is held open."""

    server: Server
    origin: Origin
    held: contextlib.ExitStack

    def client(self) -> Client:
        """One that stays open."""
        return self.held.enter_context(Client(self.server.endpoint))

    def tunnel(self, order: bytes) -> Client:
        """One to an origin that has its order."""
        client = self.client()
        client.open(self.origin.host, self.origin.port)
        client.sock.sendall(order)
        return client


def silent(scene: Scene) -> None:
    scene.client()


def half_a_greeting(scene: Scene) -> None:
    scene.client().sock.sendall(b"\5")


def greeted(scene: Scene) -> None:
    scene.client().greet()


def half_a_request(scene: Scene) -> None:
    client = scene.client()
    client.greet()
    client.sock.sendall(request("127.0.0.1", scene.origin.port)[:-1])


def reset_before_the_reply(scene: Scene) -> None:
    client = scene.client()
    client.sock.sendall(greeting() + request("127.0.0.1", scene.origin.port))
    client.reset()


def half_a_greeting_and_an_end(scene: Scene) -> None:
    client = scene.client()
    client.sock.sendall(b"\5\1")
    client.sock.shutdown(socket.SHUT_WR)


def both_sides_silent(scene: Scene) -> None:
    scene.tunnel(b"W")


def client_half_closed(scene: Scene) -> None:
    scene.tunnel(b"W").sock.shutdown(socket.SHUT_WR)


def target_half_closed(scene: Scene) -> None:
    scene.tunnel(b"E")


def target_resets(scene: Scene) -> None:
    scene.tunnel(b"R")


def client_reads_nothing(scene: Scene) -> None:
    scene.tunnel(b"F")


def target_reads_nothing(scene: Scene) -> None:
    fill(scene.tunnel(b"W").sock)


def nobody_reads(scene: Scene) -> None:
    fill(scene.tunnel(b"F").sock)


def reset_in_a_flood(scene: Scene) -> None:
    client = scene.tunnel(b"F")
    client.exactly(1)
    client.reset()


def half_closed_in_a_flood(scene: Scene) -> None:
    scene.tunnel(b"F").sock.shutdown(socket.SHUT_WR)


def silent_association(scene: Scene) -> None:
    client = scene.client()
    client.greet()
    assert client.request("0.0.0.0", 0, ASSOCIATE).code == 0


def nobody_comes_to_a_bind(scene: Scene) -> None:
    client = scene.client()
    client.greet()
    assert client.request("127.0.0.1", 1, BIND).code in (0, 2)  # four may wait at once


KINDS: tuple[Callable[[Scene], None], ...] = (
    silent, half_a_greeting, greeted, half_a_request, reset_before_the_reply, half_a_greeting_and_an_end,
    both_sides_silent, client_half_closed, target_half_closed, target_resets, client_reads_nothing,
    target_reads_nothing, nobody_reads, reset_in_a_flood, half_closed_in_a_flood, silent_association,
    nobody_comes_to_a_bind,
)  # fmt: skip


def fill(sock: socket.socket) -> None:
    """Send until nobody takes any more."""
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(bytes(1 << 16))
    sock.setblocking(True)


class Orders:
    """An origin: it waits, ends its direction, resets or floods, and then waits for the end of the abuse."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def obey(self, sock: socket.socket) -> None:
        order = sock.recv(1)
        if order == b"E":
            sock.shutdown(socket.SHUT_WR)
        elif order == b"F":
            while not self.over.is_set():
                sock.sendall(bytes(1 << 16))
        elif order == b"R":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            sock.close()
            return
        self.over.wait(processes.LONG)


def sockets(port: int, origin: int) -> list[str]:
    """The server's ends of its connections, but for those that only the other side's own end lacks."""
    over = ["exclude", "time-wait", "exclude", "fin-wait-2"]
    words = ["ss", "-tanH", "state", "connected", *over, f"( sport = :{port} or dport = :{origin} )"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def holdings(server: Server) -> Mapping[str, int]:
    """What its processes have, all together."""
    return {
        "descriptors": sum(map(processes.descriptors, server.pids)),
        "threads": sum(map(processes.threads, server.pids)),
    }


def memory(server: Server) -> int:
    """What its processes fill, in bytes (PSS)."""
    return sum(map(processes.pss, server.pids))


def abuse(server: Server) -> None:
    """A round of everything; it ends when the server has ended every session of it."""
    orders = Orders()
    with contextlib.ExitStack() as held, origins.serving(orders.obey) as origin:
        held.callback(orders.over.set)
        scene = Scene(server, origin, held)
        for kind in KINDS:
            for _ in range(EACH):
                kind(scene)
        assert eventually(lambda: not sockets(server.port, origin.port)), sockets(server.port, origin.port)
