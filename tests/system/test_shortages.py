"""A running server that is short of something: descriptors, pipes, processes, readers."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forksocks.host import shortage
from tests.system import injection, origins, processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import LONG, cpu, eventually
from tests.system.server import Server

MEGABYTES = 20_000_000


@contextlib.contextmanager
def source(size: int) -> Iterator[Origin]:
    """An origin that sends BLOCK repeated to everyone."""

    def send(sock: socket.socket) -> None:
        for piece in origins.pattern(size):
            sock.sendall(piece)

    with origins.serving(send) as origin:
        yield origin


@contextlib.contextmanager
def no_descriptors(pid: int) -> Iterator[Callable[[], None]]:
    """Nothing can be opened in another process, until the block ends or what it yields is called."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def give_back() -> None:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield give_back
    finally:
        give_back()


@contextlib.contextmanager
def no_memory(pid: int, room: int) -> Iterator[None]:
    """A process may map `room` bytes more than it has, until the block ends (RLIMIT_AS)."""
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    size = int(processes.status(pid)["VmSize"].split()[0]) * 1024
    resource.prlimit(pid, resource.RLIMIT_AS, (size + room, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)


def download(server: Server, origin: Origin, size: int) -> None:
    with Client(server.endpoint) as client:
        client.open(origin.host, origin.port)
        receive_pattern(client.sock, size)


def receive_pattern(sock: socket.socket, size: int) -> None:
    """Receive to the end what `source` sends; AssertionError at the first wrong byte."""
    for piece in origins.pattern(size):
        got = bytearray()
        while len(got) < len(piece) and (more := sock.recv(len(piece) - len(got))):
            got += more
        assert got == piece
    assert sock.recv(1) == b""


class TestDescriptors:
    def test_clients_wait_and_tunnels_go_on_without_a_spin(self, server: Start, echo: Origin) -> None:
        running = server("--workers", "1")
        (worker,) = running.workers
        with source(MEGABYTES) as big, Client(running.endpoint) as old, Client(running.endpoint) as bulk:
            old.open(echo.host, echo.port)
            bulk.open(big.host, big.port)
            with no_descriptors(worker) as give_back, Client(running.endpoint) as waiting:
                waiting.sock.sendall(b"\5\1\0")
                running.wait_for("short", of="accept", error="Too many open files")
                assert old.exchange(b"still here") == b"still here"
                receive_pattern(bulk.sock, MEGABYTES)  # there is no pipe for it
                before = cpu(worker)
                time.sleep(1.0)  # nothing is to happen: accept pauses between its tries
                assert cpu(worker) - before < 0.3
                give_back()
                assert waiting.exactly(2) == b"\5\0"

    def test_who_is_in_already_is_told_what_is_missing(self, server: Start, echo: Origin) -> None:
        running = server("--workers", "1")
        with Client(running.endpoint) as client:
            client.greet()
            with no_descriptors(running.workers[0]):
                assert client.request(echo.host, echo.port).code == 1
        running.wait_for("end", cause="no-resources")

    def test_pipes_leave_enough_for_every_client(self, server: Start, echo: Origin) -> None:
        """Peers that do not read keep pipes; with two for each tunnel there would be no socket left."""
        running = server("--workers", "1", "--threads", str(THREADS), "--relay", "splice", inside=PRLIMIT)
        (worker,) = running.workers
        with contextlib.ExitStack() as stack:
            over = threading.Event()
            stack.callback(over.set)

            def send_and_read_nothing(sock: socket.socket) -> None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                fill(sock)
                over.wait(LONG)

            stalled = stack.enter_context(origins.serving(send_and_read_nothing))
            for _ in range(THREADS - 1):
                client = stack.enter_context(Client(running.endpoint))
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.open(stalled.host, stalled.port)
                client.sock.setblocking(False)
                fill(client.sock)
            assert eventually(lambda: processes.descriptors(worker) > 2 * THREADS + 100), "there are pipes"
            client = stack.enter_context(Client(running.endpoint))
            client.open(echo.host, echo.port)
            assert client.exchange(b"served") == b"served"
            assert not running.events("short", of="accept")


class TestMemory:
    @pytest.mark.parametrize("room", [0, 270_000, 285_000, 300_000, 600_000])
    def test_whoever_comes_waits_or_is_told_and_it_recovers(
        self, server: Start, echo: Origin, room: int
    ) -> None:
        """Room for no thread's stack, for a stack and nothing else, for a little of a session."""
        running = server("--workers", "1")
        (worker,) = running.workers
        with contextlib.ExitStack() as stack:
            old = stack.enter_context(Client(running.endpoint))
            old.open(echo.host, echo.port)
            with no_memory(worker, room):
                clients = [stack.enter_context(Client(running.endpoint)) for _ in range(20)]
                for client in clients:
                    client.sock.sendall(b"\5\1\0")
                before = cpu(worker)
                time.sleep(1.0)  # nothing may spin
                assert cpu(worker) - before < 0.5
                assert old.exchange(b"still here") == b"still here"
            for client in clients:
                with contextlib.suppress(ConnectionResetError):
                    assert client.exactly(2) == b"\5\0"
            for _ in range(10):
                with Client(running.endpoint) as client:
                    client.open(echo.host, echo.port)
                    assert client.exchange(b"hello") == b"hello"
            assert old.exchange(b"still here") == b"still here"
        assert running.workers == [worker]


class TestInjected:
    @pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
    def test_while_accept_fails_clients_wait(self, server: Start, echo: Origin, error: str) -> None:
        running = server("--workers", "1")
        (worker,) = running.workers
        with Client(running.endpoint) as old, contextlib.ExitStack() as stack:
            old.open(echo.host, echo.port)
            with injection.into(worker, f"accept4:error={error}", "-f"):
                waiting = stack.enter_context(Client(running.endpoint))
                waiting.sock.sendall(b"\5\1\0")
                short = running.wait_for("short", of="accept")
                before = cpu(worker)
                time.sleep(1.0)  # nothing is to happen
                assert cpu(worker) - before < 0.5  # of which most are strace's stops
                assert old.exchange(b"still here") == b"still here"
            assert waiting.exactly(2) == b"\5\0"
            assert waiting.request(echo.host, echo.port).code == 0
        assert short["error"] == os.strerror(getattr(errno, error))
        assert len(running.events("short")) == 1

    @pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
    def test_without_a_socket_to_dial_from_it_says_so(self, server: Start, echo: Origin, error: str) -> None:
        running = server("--workers", "1")
        (worker,) = running.workers
        before = processes.descriptors(worker)
        with injection.into(worker, f"socket:error={error}", "-f"):
            for _ in range(3):
                with Client(running.endpoint) as client:
                    client.greet()
                    assert client.request(echo.host, echo.port).code == 1
        with Client(running.endpoint) as client:
            client.open(echo.host, echo.port)
        assert eventually(lambda: len(running.events("end", cause="no-resources")) == 3)
        assert eventually(lambda: processes.descriptors(worker) == before)

    @pytest.mark.parametrize(
        "fault", ["pipe2:error=EMFILE", "pipe2:error=ENFILE", "fcntl:error=EPERM:when=1+2"]
    )
    def test_without_pipes_or_their_pages_bulk_arrives(self, server: Start, fault: str) -> None:
        """The first fcntl(2) of each pair asks for a larger pipe, the second how large it is."""
        running = server("--workers", "1", "--relay", "splice")
        (worker,) = running.workers
        before = processes.descriptors(worker)
        with source(MEGABYTES) as big:
            with injection.into(worker, fault, "-f"):
                download(running, big, MEGABYTES)
            download(running, big, MEGABYTES)
        assert eventually(lambda: processes.descriptors(worker) <= before + 2), "one pipe is kept"

    @pytest.mark.parametrize("error", ["EAGAIN", "ENOMEM"])
    def test_without_threads_clients_wait_and_are_served_as_soon_as_there_is_one(
        self, server: Start, echo: Origin, error: str
    ) -> None:
        running = server("--workers", "1")
        (worker,) = running.workers
        with contextlib.ExitStack() as stack:
            with injection.into(worker, f"clone3,clone:error={error}", "-f"):
                lasting = stack.enter_context(Client(running.endpoint))
                lasting.open(echo.host, echo.port)  # by the thread that there is
                running.wait_for("short", of="thread")
                waiting = stack.enter_context(Client(running.endpoint))
                waiting.sock.sendall(b"\5\1\0")
                before = cpu(worker)
                time.sleep(1.0)  # nothing is to happen
                assert cpu(worker) - before < 0.5
                assert lasting.exchange(b"x") == b"x"
            assert waiting.exactly(2) == b"\5\0"  # although nobody has come home
            assert waiting.request(echo.host, echo.port).code == 0
            assert lasting.exchange(b"x") == b"x"
        assert [line["of"] for line in running.events("short")] == ["thread"]

    @pytest.mark.parametrize(
        "fault",
        ["splice:error=EINVAL", "splice:error=ENOMEM:when=7+", "splice:error=EAGAIN:when=4..40"],
    )
    def test_bulk_arrives_whole_by_whatever_way_is_left(self, fault: str, tmp_path: Path) -> None:
        with injection.serving(tmp_path, fault) as running, source(MEGABYTES) as big:
            for _ in range(2):
                download(running, big, MEGABYTES)

    def test_a_fork_that_fails_is_tried_again(self, tmp_path: Path, echo: Origin) -> None:
        # The supervisor's fourth: after the lookup agent and two workers, the successor of one.
        with injection.serving(tmp_path, "clone:error=EAGAIN:when=4") as running:
            os.kill(running.workers[0], signal.SIGKILL)
            failed = running.wait_for("fork-failed", child="worker 1")
            assert failed["error"] == shortage.LIMITS
            running.wait_for_workers(2)
            with Client(running.endpoint) as client:
                client.open(echo.host, echo.port)
                assert client.exchange(b"x") == b"x"


class TestPeersThatDoNotRead:
    """`ss -m` knows what the kernel holds: w of skmem is what is queued to be sent."""

    def test_they_cost_little_kernel_memory_and_end_by_reset(self, server: Start) -> None:
        running = server("--workers", "1", "--drain", "0s")
        with contextlib.ExitStack() as stack:
            flooding = stack.enter_context(origins.serving(flood))
            clients = [stack.enter_context(Client(running.endpoint)) for _ in range(50)]
            for client in clients:
                client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.open(flooding.host, flooding.port)
            held = [-1]

            def is_full() -> bool:
                lines = sockets(running.port, "-m", "state", "established")
                held.append(sum(map(queued, lines)))
                return len(lines) == 50 and held[-1] == held[-2]

            assert eventually(is_full)
            print(f"50 peers that do not read: {held[-1] >> 20} MiB queued")
            assert 0 < held[-1] < 50 * MOST_QUEUED
            running.stop()
            assert all(map(was_reset, clients))
        assert sockets(running.port, "state", "connected") == []

    def test_when_idle_they_are_reset(self, server: Start) -> None:
        running = server(config=IDLE)
        with contextlib.ExitStack() as stack:
            flooding = stack.enter_context(origins.serving(flood))
            client = stack.enter_context(Client(running.endpoint))
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.open(flooding.host, flooding.port)
            running.wait_for("end", cause="idle")
            assert was_reset(client)
        assert sockets(running.port, "state", "connected") == []


# TCP_NOTSENT_LOWAT stops the relay at 512 KiB; the kernel counts its bookkeeping, and a last large write.
MOST_QUEUED = 1_500_000

THREADS = 100
# As few descriptors as so many threads are given: sockets for all, and a pipe for every other one.
PRLIMIT = ("prlimit", "--nofile=556:556", "--")

IDLE = """
[server]
workers = 1
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[timeouts]
idle = "1s"
[log]
level = "info"
"""


def flood(sock: socket.socket) -> None:
    """Send until nobody takes it any more."""
    while True:
        sock.sendall(bytes(1 << 18))


def fill(sock: socket.socket) -> None:
    """Send until a non-blocking socket has no more room."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(bytes(1 << 16))


def was_reset(client: Client) -> bool:
    try:
        while client.sock.recv(1 << 20):
            pass
    except ConnectionResetError:
        return True
    return False


def sockets(port: int, *how: str) -> list[str]:
    """What ss(8) says of the server's ends of its clients' connections."""
    words = ["ss", "-tnOH", *how, f"( sport = :{port} )"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def queued(line: str) -> int:
    """Bytes of kernel memory that a socket's unsent data take: w of skmem."""
    return int(line.partition("skmem:(")[2].partition(",w")[2].partition(",")[0])
