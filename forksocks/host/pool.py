"""The threads of a worker: they wait in accept, and each serves the client that it got.

The kernel wakes one waiting thread for each connection, so nothing is handed over, and the cap is built in:
when all threads serve nobody accepts, and clients wait in the kernel's queue for whichever worker is free. A
thread that leaves nobody behind in accept starts its successor first; one that comes home to enough idle ones
ends, because accept wakes the longest waiting, coldest thread first and many idle ones make every client
slow.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import threading
import time
from _thread import start_new_thread
from collections.abc import Callable, Sequence
from typing import Protocol

from forksocks.host import kernel
from forksocks.host.log import Log

# Idle threads kept for each listener.
SPARE = 8
# A thread's stack; with Python's own frames on the heap a session needs a tenth of it.
STACK = 256 * 1024
# Of this one connection and over with it (accept(2), "Error handling"): the next may be accepted at once.
PASSING = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED", "ENETDOWN", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH",
        "EOPNOTSUPP", "ENETUNREACH", "ETIMEDOUT", "EPERM",
    )
    if hasattr(errno, name)
)  # fmt: skip
# Seconds until the next try after any other error. Mostly the machine is busy, not broken (EMFILE, ENFILE,
# ENOBUFS, ENOMEM): keep the listener, and let closing connections give back what is short first.
PAUSE = 0.1
REMIND = 60.0  # seconds between two lines about the same shortage
STILLBORN = 10.0  # seconds after which a thread that has not begun never will
NO_MEMORY = os.strerror(errno.ENOMEM)

SocketAddress = tuple[str, int] | tuple[str, int, int, int] | str
Serve = Callable[[int, socket.socket, SocketAddress], None]


class Accepting(Protocol):
    """A listening socket's place in the pool."""

    @property
    def socket(self) -> socket.socket:
        """The listening socket."""
        ...


class Pool:
    """At most `cap` threads that accept from `listeners` and call `serve` with the listener's index.

    tick: how long accept waits, in seconds, before a thread looks whether it is still needed.
    """

    def __init__(self, listeners: Sequence[Accepting], cap: int, tick: float, serve: Serve, log: Log) -> None:
        # With its family: asking the socket means making an enum's member each time.
        self._listeners = [(listener.socket, listener.socket.family) for listener in listeners]
        self._idle = [0] * len(self._listeners)
        self._cap = cap
        self._tick = tick
        self._serve = serve
        self._log = log
        self._lock = threading.Lock()
        self._reminded: dict[str, float] = {}
        self._unborn: dict[object, float] = {}  # threads of which nothing has been heard yet, since when
        self._turn = 0
        self._opened = threading.Event()
        self._full_since = 0
        self._full_ns = 0
        self.threads = 0
        self.busy = 0
        self.full_times = 0
        self.closing = False

    @property
    def waiting(self) -> int:
        """How many threads are in accept; once closing has made it 0 it stays 0."""
        with self._lock:
            return sum(self._idle)

    @property
    def full_ns(self) -> int:
        """For how many nanoseconds, in all, every thread that there may be has been serving."""
        since = self._full_since
        return self._full_ns + (time.monotonic_ns() - since if since else 0)

    def tell_if_full(self) -> None:
        """Log, not more often than REMIND, that clients wait because every thread serves."""
        if self._full_since:
            self._remind("threads", "every thread serves: clients wait until one is done")

    def tend(self) -> None:
        """Every now and then: start the thread that the system did not give when it was needed.

        Whoever serves may do so for a day, and until it comes home nobody would wait in accept.
        """
        with self._lock:
            self._forget_the_stillborn()
            on_the_way = self.threads - self.busy - sum(self._idle)
            may_be = 0 < self.threads < self._cap and not self.closing
            missing = may_be and not on_the_way and 0 in self._idle
            self.threads += missing
        if missing:
            self._start_successor()

    def start(self) -> None:
        """Start one thread for each listener, up to the cap; RuntimeError if the system gives none."""
        self.prepare()
        self.open()

    def prepare(self) -> None:
        """Start them, and let them wait for `open`: who is ready has what it takes to serve."""
        threading.stack_size(STACK)
        for _ in self._listeners[: self._cap]:
            with self._lock:
                self.threads += 1
            self._start_thread()

    def open(self) -> None:
        """Let them accept."""
        self._opened.set()

    def close(self) -> None:
        """Accept no more: idle threads end within a tick, busy ones after their session."""
        with self._lock:
            self.closing = True
        self._opened.set()

    def _start_thread(self) -> None:
        """Start one thread, which counts already. Raises RuntimeError and MemoryError.

        Thread.start() waits until the new one runs: for good if that finds no memory for its first step. So
        nobody waits, and one of which nothing is heard counts no more after a while.
        """
        sign = object()
        self._unborn[sign] = time.monotonic()
        try:
            start_new_thread(self._be_born, (sign,))
        except BaseException:
            del self._unborn[sign]
            raise

    def _be_born(self, sign: object) -> None:
        if self._unborn.pop(sign, None) is not None:
            sys.settrace(threading.gettrace())  # as Thread does
            self._opened.wait()
            self._live()

    def _forget_the_stillborn(self) -> None:
        latest = time.monotonic() - STILLBORN
        for sign in [sign for sign, begun in self._unborn.copy().items() if begun < latest]:
            if self._unborn.pop(sign, None) is not None:
                self.threads -= 1

    def _live(self) -> None:
        served = False
        while (place := self._take_place(served)) is not None:
            accepted = self._accept(*self._listeners[place])
            served = accepted is not None
            if accepted is None:
                self._leave_place(place)
                continue
            if self._leave_place(place, to_serve=True):
                self._start_successor()
            try:
                self._serve(place, *accepted)
            except MemoryError:
                accepted[0].close()
                self._remind("memory", NO_MEMORY)
                time.sleep(PAUSE)
            except BaseException as error:  # noqa: BLE001 - a thread that died here would count for good
                accepted[0].close()
                self._log.crash(error)

    def _take_place(self, served: bool) -> int | None:
        """Wait where the fewest wait, in turn among equals; None when this thread is not needed any more.

        Without the turns, at the cap, every thread that comes home would go to the first listener. served:
        whether the thread comes from a client.
        """
        with self._lock:
            if served:
                self._serve_no_more()
            idle = self._idle
            fewest = min(idle)
            if self.closing or fewest >= SPARE:
                self.threads -= 1
                return None
            turn = self._turn
            place = idle.index(fewest, turn) if fewest in idle[turn:] else idle.index(fewest)
            self._turn = (place + 1) % len(idle)
            idle[place] += 1
            return place

    def _leave_place(self, place: int, to_serve: bool = False) -> bool:
        """Stop waiting; True if a successor must be started, which then counts already."""
        with self._lock:
            self._idle[place] -= 1
            if not to_serve:
                return False
            self.busy += 1
            if self.busy >= self._cap:
                self._full_since = time.monotonic_ns()
                self.full_times += 1
            if self._idle[place] or self.threads >= self._cap or self.closing:
                return False
            self.threads += 1
            return True

    def _serve_no_more(self) -> None:
        self.busy -= 1
        if self._full_since:
            self._full_ns += time.monotonic_ns() - self._full_since
            self._full_since = 0

    def _start_successor(self) -> None:
        try:
            self._start_thread()
        except (RuntimeError, MemoryError) as error:  # no process slot or no memory: clients wait
            with self._lock:
                self.threads -= 1
            self._remind("thread", str(error) or NO_MEMORY)

    def _accept(self, listener: socket.socket, family: int) -> tuple[socket.socket, SocketAddress] | None:
        """Wait for a client; None after a tick without one."""
        try:
            if not kernel.ACCEPT_TIMES_OUT:
                return self._poll_accept(listener)
            # What socket.accept() does, without asking again for what the listener tells: 6 % less work for a
            # connection.
            descriptor, address = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001
            return _as_socket(descriptor, family), address
        except BlockingIOError:
            return None
        except MemoryError:
            self._remind("accept", NO_MEMORY)
            time.sleep(PAUSE)
            return None
        except OSError as error:
            if error.errno not in PASSING:
                self._remind("accept", error.strerror or str(error))
                time.sleep(PAUSE)
            return None

    def _poll_accept(self, listener: socket.socket) -> tuple[socket.socket, SocketAddress] | None:
        """Accept where SO_RCVTIMEO does not end the wait; the listener does not block, its clients do."""
        poller = select.poll()
        poller.register(listener, select.POLLIN)
        if not poller.poll(self._tick * 1000):
            return None
        sock, address = listener.accept()
        sock.setblocking(True)
        return sock, address

    def _remind(self, what: str, text: str) -> None:
        now = time.monotonic()
        with self._lock:
            if now < self._reminded.get(what, 0.0):
                return
            self._reminded[what] = now + REMIND
        self._log.notice("short", of=what, error=text, busy=self.busy, threads=self.threads)


def _as_socket(descriptor: int, family: int) -> socket.socket:
    """What was accepted, or nothing of it: a descriptor that nobody owns would be lost for good."""
    try:
        return socket.socket(family, socket.SOCK_STREAM, 0, fileno=descriptor)
    except MemoryError:
        os.close(descriptor)
        raise
