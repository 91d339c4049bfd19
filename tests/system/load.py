"""Clients that keep coming, and tunnels that stay, while something is done to a server; all in threads.

with knocking(server.endpoint, echo) as load, staying(server.endpoint, echo) as tunnel:
    ...
    load.wait_for(1000)
assert not load.failures
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

from tests.system.client import Client, Endpoint
from tests.system.origins import BLOCK, Origin
from tests.system.processes import LONG, eventually

PIECE = 4096  # bytes of one exchange in a tunnel that stays
WORD = b"forksocks"
SHOWN = 5  # failures that are kept in words; all are counted


class Load:
    """What became of the connections: how many were served, and what went wrong with the others."""

    def __init__(self) -> None:
        self.served = 0
        self.failed = 0
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self.over = threading.Event()

    def wait_for(self, more: int) -> None:
        """Wait until that many more have been served or failed."""
        wanted = self.served + self.failed + more
        found = eventually(lambda: self.served + self.failed >= wanted)
        assert found, f"{self.served} served, {self.failed} failed: {self.failures}"

    def run(self, server: Endpoint | str, echo: Origin) -> None:
        """Come again and again, one connection after the other."""
        while not self.over.is_set():
            try:
                exchange(server, echo)
            except (OSError, EOFError, AssertionError) as error:
                with self._lock:
                    self.failed += 1
                    self.failures[SHOWN - 1 :] = [f"{type(error).__name__}: {error}"]
            else:
                with self._lock:
                    self.served += 1


def exchange(server: Endpoint | str, echo: Origin, *credentials: bytes) -> None:
    """Come, have a word sent back, and leave."""
    with Client(server) as client:
        client.open(echo.host, echo.port, *credentials)
        assert client.exchange(WORD) == WORD


@contextlib.contextmanager
def knocking(server: Endpoint | str, echo: Origin, threads: int = 4) -> Iterator[Load]:
    """Connect through the server, exchange a word and leave, until the block ends."""
    load = Load()
    with _in_threads([threading.Thread(target=load.run, args=(server, echo)) for _ in range(threads)]):
        try:
            yield load
        finally:
            load.over.set()


class Tunnel:
    """One tunnel through which bytes go back and forth and are compared; `moved` counts them."""

    def __init__(self, server: Endpoint | str, echo: Origin) -> None:
        self.client = Client(server)
        self.client.open(echo.host, echo.port)
        self.moved = 0
        self.failure = ""
        self.over = threading.Event()

    def run(self) -> None:
        """Send and compare until told to end."""
        try:
            while not self.over.wait(0.002):
                start = self.moved % (len(BLOCK) - PIECE)
                piece = BLOCK[start : start + PIECE]
                assert self.client.exchange(piece) == piece, f"other bytes after {self.moved}"
                self.moved += PIECE
        except (OSError, EOFError, AssertionError) as error:
            self.failure = f"{type(error).__name__}: {error}"

    def check(self) -> None:
        """Fail unless it lives and moves."""
        before = self.moved
        moved = eventually(lambda: self.moved > before + PIECE or self.failure)
        assert moved, "stands still"
        assert not self.failure, self.failure


@contextlib.contextmanager
def staying(server: Endpoint | str, echo: Origin) -> Iterator[Tunnel]:
    """Hold one tunnel open and use it until the block ends; it must have lived all the time."""
    tunnel = Tunnel(server, echo)
    with tunnel.client, _in_threads([threading.Thread(target=tunnel.run)]):
        try:
            yield tunnel
            tunnel.check()
        finally:
            tunnel.over.set()


@contextlib.contextmanager
def _in_threads(threads: Sequence[threading.Thread]) -> Iterator[None]:
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join(LONG)
