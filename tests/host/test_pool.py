"""The pool against real listeners, with accept(2) as Linux has it and with its portable twin."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from forksocks.config.model import LogConfig
from forksocks.host import kernel, pool
from forksocks.host.log import Log
from forksocks.host.pool import SPARE, Pool, Serve, SocketAddress
from tests.machine import LONG, NoDescriptors, wait_until

TICK = 0.02
# What the log says is short, where a MemoryError was raised.
WORDS = {"accept": "accept", "thread": "thread", "serve": "memory"}


class Listener(socket.socket):
    """A listening socket that counts how often it is accepted from, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.errors: list[int] = []
        self.bind(("127.0.0.1", 0))
        kernel.receive_timeout(self, TICK)
        self.listen(100)
        if not kernel.ACCEPT_TIMES_OUT:
            self.setblocking(False)

    @property
    def socket(self) -> Listener:
        return self

    def _accept(self) -> tuple[int, SocketAddress]:
        self.calls += 1
        if self.errors:
            code = self.errors.pop()
            raise OSError(code, os.strerror(code))
        return super()._accept()  # type: ignore[misc, no-any-return]


class Guests:
    """A `serve` that keeps every client until it is let go, and knows how many there were at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.here = 0
        self.most = 0
        self.places: list[int] = []
        self.leave = threading.Semaphore(0)

    def serve(self, place: int, sock: socket.socket, address: SocketAddress) -> None:
        with self.lock:
            self.here += 1
            self.most = max(self.most, self.here)
        assert self.leave.acquire(timeout=LONG)
        with self.lock:
            self.here -= 1
            self.places.append(place)
        sock.sendall(b"bye")
        sock.close()

    def let_go(self, number: int) -> None:
        self.leave.release(number)


class Running:
    """A pool and its listeners."""

    def __init__(self, listeners: int, cap: int, serve: Serve, log: Log) -> None:
        self.listeners = [Listener() for _ in range(listeners)]
        self.pool = Pool(self.listeners, cap, TICK, serve, log)

    def connect(self, place: int = 0) -> socket.socket:
        return socket.create_connection(self.listeners[place].getsockname(), timeout=LONG)


Start = Callable[..., Running]


@pytest.fixture(params=["timed", "polled"])
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Start]:
    """Starts pools that end with the test; the second time as where accept never times out.

    before: what happens to the first listener before the pool starts.
    """
    monkeypatch.setattr(kernel, "ACCEPT_TIMES_OUT", request.param == "timed")
    made: list[Running] = []
    log = Log.open(LogConfig(to=f"file:{tmp_path / 'log'}"))

    def start(
        serve: Serve, cap: int, listeners: int = 1, before: Callable[[Listener], object] | None = None
    ) -> Running:
        running = Running(listeners, cap, serve, log)
        if before:
            before(running.listeners[0])
        made.append(running)
        running.pool.start()
        return running

    try:
        yield start
        for running in made:
            running.pool.close()
            wait_until(lambda pool=running.pool: not pool.threads)  # type: ignore[misc]
            assert (running.pool.busy, running.pool.waiting) == (0, 0)
    finally:
        threading.stack_size(0)
        for running in made:
            for listener in running.listeners:
                listener.close()
        log.close(1)


def answered(client: socket.socket) -> bool:
    with client, contextlib.suppress(ConnectionError):
        return client.recv(10) == b"bye"
    return False


def test_the_cap_is_never_passed_and_who_waits_is_served_later(start: Start) -> None:
    guests = Guests()
    running = start(guests.serve, cap=4)
    clients = [running.connect() for _ in range(12)]
    wait_until(lambda: guests.here == 4)
    assert running.pool.busy == running.pool.threads == 4
    assert running.pool.waiting == 0
    guests.let_go(12)
    assert all(map(answered, clients))
    assert guests.most == 4


def test_threads_start_on_demand_one_ahead_of_the_clients(start: Start) -> None:
    guests = Guests()
    running = start(guests.serve, cap=64)
    assert running.pool.threads == 1
    clients = []
    for number in range(1, 6):
        clients.append(running.connect())
        wait_until(lambda wanted=number: guests.here == wanted and running.pool.waiting == 1)  # type: ignore[misc]
        assert running.pool.threads == number + 1
    guests.let_go(5)
    assert all(map(answered, clients))


def test_surplus_threads_end_when_they_come_home(start: Start) -> None:
    guests = Guests()
    running = start(guests.serve, cap=64)
    clients = [running.connect() for _ in range(3 * SPARE)]
    wait_until(lambda: guests.here == 3 * SPARE)
    guests.let_go(3 * SPARE)
    assert all(map(answered, clients))
    wait_until(lambda: running.pool.threads == SPARE)
    one = running.connect()
    wait_until(lambda: guests.here == 1)
    assert running.pool.threads == SPARE  # nobody new: others are still waiting
    guests.let_go(1)
    assert answered(one)


def test_a_thread_serves_one_client_after_another(start: Start) -> None:
    threads = Counter[int]()

    def serve(place: int, sock: socket.socket, address: SocketAddress) -> None:
        threads[threading.get_ident()] += 1
        sock.sendall(b"bye")
        sock.close()

    running = start(serve, cap=2)
    assert all(answered(running.connect()) for _ in range(30))
    assert len(threads) <= 2
    assert sum(threads.values()) == 30


def test_at_the_cap_listeners_are_served_in_turn(start: Start) -> None:
    guests = Guests()
    running = start(guests.serve, cap=2, listeners=2)
    clients = [running.connect(place) for place in (0, 1) for _ in range(8)]
    wait_until(lambda: guests.here == 2)
    for number in range(1, 17):
        guests.let_go(1)
        wait_until(lambda wanted=number: len(guests.places) == wanted)  # type: ignore[misc]
    assert all(map(answered, clients))
    assert Counter(guests.places) == {0: 8, 1: 8}
    assert 3 <= guests.places[:8].count(0) <= 5


def test_a_silent_listener_takes_no_thread_from_a_busy_one_for_long(start: Start) -> None:
    guests = Guests()
    running = start(guests.serve, cap=4, listeners=2)
    clients = [running.connect(0) for _ in range(8)]
    wait_until(lambda: guests.here == 3)  # the fourth stays with the listener that nobody calls
    quiet = running.connect(1)
    guests.let_go(9)
    assert all(map(answered, [*clients, quiet]))


def test_clients_have_blocking_sockets_and_their_addresses(start: Start) -> None:
    seen: list[tuple[float | None, SocketAddress]] = []

    def serve(place: int, sock: socket.socket, address: SocketAddress) -> None:
        seen.append((sock.gettimeout(), address))
        sock.sendall(b"bye")
        sock.close()

    running = start(serve, cap=2)
    client = running.connect()
    name = client.getsockname()
    assert answered(client)
    assert seen == [(None, name)]


def test_a_bug_in_a_session_costs_that_client_alone(start: Start, tmp_path: Path) -> None:
    def serve(place: int, sock: socket.socket, address: SocketAddress) -> None:
        if not first_came.is_set():
            first_came.set()
            raise ZeroDivisionError
        sock.sendall(b"bye")
        sock.close()

    first_came = threading.Event()
    running = start(serve, cap=1)
    with running.connect() as first:
        assert first.recv(10) == b""
    assert answered(running.connect())
    assert running.pool.threads == 1
    assert "crash error=ZeroDivisionError" in (tmp_path / "log").read_text()


class TestShortages:
    @pytest.fixture(autouse=True)
    def short_pauses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "PAUSE", pool.PAUSE / 5)

    def test_without_descriptors_accept_pauses_says_so_once_and_recovers(
        self, start: Start, tmp_path: Path
    ) -> None:
        guests = Guests()
        guests.let_go(1)
        none = NoDescriptors()
        with contextlib.ExitStack() as stack:
            waiting = stack.enter_context(socket.socket())
            log = stack.enter_context((tmp_path / "log").open())

            def become_poor(listener: Listener) -> None:
                """Before the pool starts: a thread that waits in accept(2) has its client's descriptor."""
                waiting.connect(listener.getsockname())
                stack.enter_context(none)

            running = start(guests.serve, cap=1, before=become_poor)
            (listener,) = running.listeners
            wait_until(lambda: listener.calls > 0)
            calls, began = listener.calls, time.monotonic()
            wait_until(lambda: listener.calls >= calls + 4)
            assert time.monotonic() - began > 2 * pool.PAUSE
            none.give_back()
            waiting.settimeout(LONG)
            assert answered(waiting)
            assert [line.split(" ", 1)[1] for line in log] == [
                'short of=accept error="Too many open files" busy=0 threads=1\n'
            ]

    @pytest.mark.parametrize("code", [errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EIO])
    def test_any_lasting_error_pauses(self, start: Start, code: int, tmp_path: Path) -> None:
        guests = Guests()
        guests.let_go(1)
        began = time.monotonic()
        running = start(guests.serve, cap=1, before=lambda listener: listener.errors.extend([code] * 3))
        assert answered(running.connect())
        assert time.monotonic() - began > 2 * pool.PAUSE
        assert (tmp_path / "log").read_text().count("short of=accept") == 1

    @pytest.mark.parametrize("code", sorted(pool.PASSING))
    def test_a_connection_that_broke_while_it_waited_is_passed_over(
        self, start: Start, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool, "PAUSE", 2 * LONG)
        guests = Guests()
        guests.let_go(1)
        running = start(guests.serve, cap=1, before=lambda listener: listener.errors.append(code))
        assert answered(running.connect())
        assert not running.listeners[0].errors
        assert not (tmp_path / "log").read_text()

    def test_without_a_new_thread_clients_wait_for_one_that_comes_home(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        guests = Guests()
        running = start(guests.serve, cap=8)
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise RuntimeError("can't start new thread")

            patch.setattr(pool, "start_new_thread", fail)
            clients = [running.connect() for _ in range(3)]
            wait_until(lambda: guests.here == 1 and "short of=thread" in (tmp_path / "log").read_text())
            assert running.pool.threads == 1
            guests.let_go(1)
            wait_until(lambda: guests.here == 1 and len(guests.places) == 1)
        guests.let_go(1)
        wait_until(lambda: len(guests.places) == 2)
        guests.let_go(1)
        assert all(map(answered, clients))
        assert (tmp_path / "log").read_text().count("short of=thread") == 1

    def test_a_thread_that_could_not_start_is_started_later_though_nobody_comes_home(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        guests = Guests()
        running = start(guests.serve, cap=8)
        with monkeypatch.context() as patch:

            def fail(*_: object) -> None:
                raise RuntimeError("can't start new thread")

            patch.setattr(pool, "start_new_thread", fail)
            first = running.connect()
            wait_until(lambda: guests.here == 1 and running.pool.threads == 1)
            running.pool.tend()
            assert running.pool.threads == 1, "it still cannot"
            second = running.connect()
        running.pool.tend()
        wait_until(lambda: guests.here == 2)
        wait_until(lambda: running.pool.waiting == 1)
        running.pool.tend()
        assert running.pool.threads == 3, "nobody is missing"
        guests.let_go(2)
        assert answered(first)
        assert answered(second)

    def test_a_thread_that_never_begins_counts_no_more_after_a_while(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It found no memory for its first step."""
        guests = Guests()
        running = start(guests.serve, cap=2)
        with monkeypatch.context() as patch:
            patch.setattr(pool, "start_new_thread", lambda *_: 0)
            first = running.connect()
            wait_until(lambda: guests.here == 1 and running.pool.threads == 2)
        second = running.connect()
        running.pool.tend()
        assert running.pool.threads == 2, "it may still come"
        monkeypatch.setattr(pool, "STILLBORN", -1.0)
        running.pool.tend()
        guests.let_go(2)
        assert answered(first)
        assert answered(second)

    @pytest.mark.parametrize("where", ["accept", "thread", "serve"])
    def test_without_memory_no_thread_is_lost(
        self, start: Start, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise MemoryError

        guests = Guests()
        guests.let_go(10)
        failing = [True]
        running = start(
            lambda *client: fail() if failing[0] and where == "serve" else guests.serve(*client), 2
        )
        with monkeypatch.context() as patch:
            if where == "accept":
                patch.setattr(socket.socket, "_accept", fail, raising=False)
                patch.setattr(socket.socket, "accept", fail)
            elif where == "thread":
                patch.setattr(pool, "start_new_thread", fail)
            client = running.connect()
            wait_until(lambda: f"short of={WORDS[where]}" in (tmp_path / "log").read_text())
        failing[0] = False
        assert answered(client) is (where != "serve")
        running.pool.tend()
        assert all(answered(running.connect()) for _ in range(5))

    def test_no_thread_is_missing_before_the_first(self, start: Start, tmp_path: Path) -> None:
        with Listener() as listener:
            pool = Pool([listener], 4, TICK, Guests().serve, Log.open(LogConfig(to=f"file:{tmp_path}/log")))
            pool.tend()
            assert pool.threads == 0

    def test_that_it_is_full_is_said_once_a_minute_and_counted(
        self, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def said() -> int:
            return (tmp_path / "log").read_text().count("short of=threads")

        guests = Guests()
        running = start(guests.serve, cap=2)
        clients = [running.connect() for _ in range(3)]
        wait_until(lambda: guests.here == 2)
        clock = SimpleNamespace(monotonic=time.monotonic, monotonic_ns=time.monotonic_ns, sleep=time.sleep)
        monkeypatch.setattr(pool, "time", clock)
        now = time.monotonic()
        for later in (0, pool.REMIND / 2, pool.REMIND - 1):
            clock.monotonic = lambda later=later: now + later
            running.pool.tell_if_full()
        assert said() == 1
        clock.monotonic = lambda: now + pool.REMIND + 1
        running.pool.tell_if_full()
        assert said() == 2
        guests.let_go(1)
        wait_until(lambda: len(guests.places) == 1 and guests.here == 2)
        assert running.pool.full_times == 2
        guests.let_go(2)
        assert all(map(answered, clients))
        wait_until(lambda: not running.pool.busy)
        running.pool.tell_if_full()
        assert said() == 2
        spent = running.pool.full_ns
        assert running.pool.full_ns == spent > 0

    def test_a_first_thread_that_cannot_start_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(pool, "start_new_thread", fail)
        log = Log.open(LogConfig(to=f"file:{tmp_path / 'log'}"))
        try:
            with Listener() as listener, pytest.raises(RuntimeError):
                Pool([listener], 4, TICK, Guests().serve, log).start()
        finally:
            threading.stack_size(0)
            log.close(1)


def test_closing_ends_idle_threads_and_busy_ones_after_their_client(start: Start) -> None:
    guests = Guests()
    running = start(guests.serve, cap=8)
    inside = running.connect()
    wait_until(lambda: guests.here == 1 and running.pool.waiting == 1)
    running.pool.close()
    wait_until(lambda: running.pool.threads == 1)
    outside = running.connect()
    assert running.pool.waiting == 0
    guests.let_go(1)
    assert answered(inside)
    wait_until(lambda: not running.pool.threads)
    running.listeners[0].close()
    assert not answered(outside)
    assert len(guests.places) == 1
