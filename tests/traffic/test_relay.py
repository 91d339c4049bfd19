"""The relay against real sockets: any mix of writes, ends and stalls delivers exactly the bytes."""

from __future__ import annotations

import contextlib
import os
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@dataclass
class Tunnel:
    """A running relay and the far ends of its two connections."""

    client: socket.socket
    target: socket.socket
    relay: Relay
    thread: threading.Thread
    near: tuple[socket.socket, socket.socket]
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
    own = pipes or (Pipes() if may_splice(kind) else None)
    relay = Relay(near_client, near_target, early, limits or Timeouts(), own)
    causes: list[Cause] = []

    def run() -> None:
        causes.append(relay.run())
        near_client.close()
        near_target.close()

    thread = threading.Thread(target=run)
    made = Tunnel(client, target, relay, thread, (near_client, near_target), causes)
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


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.005)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_arrive_and_are_counted(kind: RelayKind) -> None:
    up, down = os.urandom(3_000_000), os.urandom(5_000_000)
    with tunnel(kind, early=b"early ") as t:
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(read_all(t.target)))
        reader.start()
        sender = threading.Thread(target=send_all, args=(t.client, up))
        sender.start()
        sender2 = threading.Thread(target=send_all, args=(t.target, down))
        sender2.start()
        assert read_all(t.client) == down
        for thread in (reader, sender, sender2):
            thread.join(20)
        assert got[0] == b"early " + up
        assert t.cause() in (Cause.CLIENT_CLOSED, Cause.TARGET_CLOSED)
        assert (t.relay.up.moved, t.relay.down.moved) == (len(up) + 6, len(down))


@pytest.mark.parametrize("kind", KINDS)
def test_a_half_close_ends_one_direction_only(kind: RelayKind) -> None:
    with tunnel(kind) as t:
        t.client.sendall(b"question")
        t.client.shutdown(socket.SHUT_WR)
        assert read_all(t.target) == b"question"
        t.target.sendall(b"answer after the end of the question")
        t.target.close()
        assert read_all(t.client) == b"answer after the end of the question"
        assert t.cause() is Cause.CLIENT_CLOSED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", ["client", "target"])
def test_a_reset_is_passed_on_as_a_reset(kind: RelayKind, who: str) -> None:
    with tunnel(kind) as t:
        resetting, other = (t.client, t.target) if who == "client" else (t.target, t.client)
        resetting.sendall(b"x")
        assert other.recv(10) == b"x"
        resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        resetting.close()
        with pytest.raises(ConnectionResetError):
            other.recv(10)
        assert t.cause() is (Cause.CLIENT_RESET if who == "client" else Cause.TARGET_RESET)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_ends_the_tunnel_and_resets_what_is_stuck(kind: RelayKind) -> None:
    with tunnel(kind, limits=Timeouts(idle=0.2)) as t:
        assert t.cause() is Cause.IDLE
        with pytest.raises(ConnectionResetError):
            t.client.recv(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_half_closed_tunnel_has_its_own_limit(kind: RelayKind) -> None:
    with tunnel(kind, limits=Timeouts(idle=60.0, half_closed=0.2)) as t:
        t.client.shutdown(socket.SHUT_WR)
        assert t.cause() is Cause.HALF_CLOSED


@pytest.mark.parametrize("kind", KINDS)
def test_a_stalled_reader_does_not_stop_the_other_direction(kind: RelayKind) -> None:
    with tunnel(kind) as t:
        stuffed = stuff(t.target)
        t.client.sendall(b"still here")
        assert t.target.recv(100) == b"still here"
        t.target.shutdown(socket.SHUT_WR)
        t.client.shutdown(socket.SHUT_WR)
        assert len(read_all(t.client)) == stuffed
        assert t.cause() in (Cause.CLIENT_CLOSED, Cause.TARGET_CLOSED)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bulk", [False, True])
def test_urgent_data_stays_in_line_and_does_not_spin(kind: RelayKind, bulk: bool) -> None:
    with tunnel(kind) as t:
        expected = b""
        if bulk:
            expected = os.urandom(1_000_000)
            t.client.sendall(expected)
            assert receive_exactly(t.target, len(expected)) == expected
        before = time.thread_time_ns()
        t.client.send(b"!", socket.MSG_OOB)
        assert receive_exactly(t.target, 1) == b"!"
        t.client.sendall(b"after")
        assert receive_exactly(t.target, 5) == b"after"
        t.client.send(b"?", socket.MSG_OOB)
        assert receive_exactly(t.target, 1) == b"?"
        used = cpu_of(t.thread)
        time.sleep(0.3)  # a spin shows as CPU time, not as an event to wait for
        assert cpu_of(t.thread) - used < 0.1
        assert time.thread_time_ns() - before < 10**9


def cpu_of(thread: threading.Thread) -> float:
    """CPU seconds of one thread."""
    clock = time.pthread_getcpuclockid(thread.ident or 0)
    return time.clock_gettime(clock)


def receive_exactly(sock: socket.socket, count: int) -> bytes:
    sock.settimeout(10)
    data = b""
    while len(data) < count:
        chunk = sock.recv(count - len(data))
        assert chunk, "ended early"
        data += chunk
    return data


@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_of_single_bytes_into_a_stalled_bulk_flow_loses_nothing(kind: RelayKind) -> None:
    with tunnel(kind) as t:
        bulk = os.urandom(300_000)
        t.client.sendall(bulk)
        t.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tail = bytes(random.Random(1).randbytes(4000))
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(read_all(t.target)))
        for byte in tail[:2000]:
            t.client.send(bytes((byte,)))
        reader.start()
        for byte in tail[2000:]:
            t.client.send(bytes((byte,)))
        t.client.shutdown(socket.SHUT_WR)
        reader.join(20)
        assert got[0] == bulk + tail


@pytest.mark.parametrize("kind", KINDS)
def test_an_idle_tunnel_uses_no_cpu_after_a_half_close(kind: RelayKind) -> None:
    with tunnel(kind) as t:
        t.client.shutdown(socket.SHUT_WR)
        assert t.target.recv(1) == b""
        used = cpu_of(t.thread)
        time.sleep(0.2)
        assert cpu_of(t.thread) - used < 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["idle", "half-closed", "flowing", "stalled", "stalled both ways"])
def test_aborted_it_ends_and_both_sides_see_a_reset_and_no_end(kind: RelayKind, state: str) -> None:
    with tunnel(kind) as t:
        errors: list[OSError] = []
        sender = threading.Thread(target=flood, args=(t.target, errors))
        if state == "half-closed":
            t.client.shutdown(socket.SHUT_WR)
            assert t.target.recv(1) == b""
        if state == "flowing":
            sender.start()
            receive_exactly(t.client, 1_000_000)
        if state.startswith("stalled"):
            stuff(t.target)
        if state == "stalled both ways":
            stuff(t.client)
        t.relay.abort()
        while state == "stalled both ways" and t.thread.is_alive():
            t.thread.join(0.05)
            t.relay.abort()
        t.cause()
        assert how_it_ends(t.client) == "reset"
        if state == "flowing":  # an error is told once: to who sends or to who receives
            sender.join(20)
            assert isinstance(errors[0], ConnectionResetError)
        elif state != "half-closed":  # which has had its end
            assert how_it_ends(t.target) == "reset"


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


def test_no_pipe_is_lent_while_nothing_is_in_it() -> None:
    pipes = Pipes()
    with tunnel(RelayKind.SPLICE, pipes=pipes) as t:
        t.client.sendall(bytes(2_000_000))
        receive_exactly(t.target, 2_000_000)
        wait_for(lambda: t.relay.up.pipe is None)
        assert t.relay.up.bulk
        assert len(pipes._free) == 1  # noqa: SLF001 - what the pool holds is the point
    pipes.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["client", "target"]),
        st.sampled_from(["write", "write", "write", "end", "stall"]),
        st.sampled_from([1, 2, 100, 4095, 16384, 16385, 70_000, 400_000]),
    ),
    max_size=14,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_any_interleaving_delivers_exactly_the_bytes(
    kind: RelayKind, steps: list[tuple[str, str, int]]
) -> None:
    with tunnel(kind) as t:
        ends = {"client": t.client, "target": t.target}
        sent = {"client": bytearray(), "target": bytearray()}
        got: dict[str, bytes] = {}
        stall = threading.Event()

        def read(name: str) -> None:
            stall.wait(0.02)  # both sides write before anyone reads
            got[name] = read_all(ends[name])

        def write(name: str) -> None:
            noise = random.Random(len(steps))
            for who, what, size in steps:
                if who != name:
                    continue
                if what == "end":
                    break
                if what == "stall":
                    time.sleep(0.001)
                    continue
                data = noise.randbytes(size)
                sent[name] += data
                ends[name].sendall(data)
            ends[name].shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=f, args=(n,)) for f in (read, write) for n in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        t.cause()
        assert got["target"] == bytes(sent["client"])
        assert got["client"] == bytes(sent["target"])
