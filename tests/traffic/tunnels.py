"""Running relays for tests: both far ends, how often they poll, and what can be done to them."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from forksocks.config.model import RelayKind, Timeouts
from forksocks.host.causes import Cause
from forksocks.traffic.pipes import Pipes
from forksocks.traffic.relay import Relay, may_splice

KINDS = [RelayKind.SPLICE, RelayKind.COPY]
LINGER_ZERO = struct.pack("ii", 1, 0)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets, as socketpair(2) gives none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for sock in (near, far):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    return near, far


class CountingPoll:
    """select.poll that knows how often it was asked: a spin shows here, however slow the machine is."""

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        self.register, self.unregister = poll.register, poll.unregister
        self.calls = 0

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        self.calls += 1
        return self._poll.poll(milliseconds)


@dataclass
class Tunnel:
    """A running relay and the far ends of its two connections."""

    client: socket.socket
    target: socket.socket
    relay: Relay
    thread: threading.Thread
    near: tuple[socket.socket, socket.socket]
    poll: CountingPoll
    causes: list[Cause] = field(default_factory=list)

    def cause(self) -> Cause:
        self.thread.join(20)
        assert not self.thread.is_alive(), "the relay did not end"
        return self.causes[0]


@contextlib.contextmanager
def tunnel(
    kind: RelayKind, *, early: bytes = b"", limits: Timeouts | None = None, pipes: Pipes | None = None
) -> Iterator[Tunnel]:
    client, near_client = tcp_pair()
    near_target, target = tcp_pair()
    own = pipes or (Pipes(2) if may_splice(kind) else None)
    relay = Relay(near_client, near_target, early, limits or Timeouts(), own)
    causes: list[Cause] = []
    relay._poller = counting = CountingPoll(relay._poller)  # type: ignore[assignment]  # noqa: SLF001

    def run() -> None:
        causes.append(relay.run())
        near_client.close()
        near_target.close()

    thread = threading.Thread(target=run)
    made = Tunnel(client, target, relay, thread, (near_client, near_target), counting, causes)
    thread.start()
    try:
        yield made
    finally:
        client.close()
        target.close()
        thread.join(20)
        if own and not pipes:
            own.close()


def read_all(sock: socket.socket) -> bytes:
    data = bytearray()
    while chunk := sock.recv(1 << 16):
        data += chunk
    return bytes(data)


def send_all(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def calls_while_talking(t: Tunnel) -> int:
    """How often the relay polls while twenty bytes go through and twenty come back; some forty are right."""
    before = t.poll.calls
    for _ in range(20):
        t.client.sendall(b"a")
        assert receive_exactly(t.target, 1) == b"a"
        t.target.sendall(b"b")
        assert receive_exactly(t.client, 1) == b"b"
    return t.poll.calls - before


def receive_exactly(sock: socket.socket, count: int) -> bytes:
    sock.settimeout(10)
    data = b""
    while len(data) < count:
        chunk = sock.recv(count - len(data))
        assert chunk, "ended early"
        data += chunk
    return data


def flood(sock: socket.socket, errors: list[OSError]) -> None:
    """Send for as long as somebody takes it."""
    try:
        while True:
            sock.sendall(bytes(1 << 16))
    except OSError as error:
        errors.append(error)


def stuff(sock: socket.socket) -> int:
    """Send until nothing more fits anywhere; how much did."""
    sock.setblocking(False)
    stuffed = quiet = 0
    while quiet < 5:
        try:
            stuffed += sock.send(bytes(1 << 16))
            quiet = 0
        except BlockingIOError:
            quiet += 1
            select.select([], [sock], [], 0.02)
    sock.setblocking(True)
    return stuffed


def how_it_ends(sock: socket.socket) -> str:
    sock.settimeout(20)
    try:
        while sock.recv(1 << 20):
            pass
    except ConnectionResetError:
        return "reset"
    return "end"
