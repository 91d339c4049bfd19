"""Peers that stall, say half, close half or reset, for as long as wanted; then /proc is compared.

Beside them one honest client asks all the time, and none of its questions may fail or wait long.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.system import origins
from tests.system.abuse import CONFIG, EACH, KINDS, abuse, holdings, memory
from tests.system.client import Client
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import Server, command, started

# After the first rounds pools, caches and the allocator have what they keep.
WARM_UP, LONG_WARM_UP = 3, 180.0  # rounds at least; seconds at most, and a tenth of the time else
SHOWN = 10  # failures, at most
TOLD = 60.0  # seconds between two lines of figures
MIB = 1 << 20
GROWTH = 0.05  # of memory, after the warm-up
REST = 0.05  # seconds between two questions of the honest client


class Honest:
    """A client that opens, asks, reads and leaves, again and again, until its block ends."""

    def __init__(self, server: Server, echo: Origin) -> None:
        self.served, self.longest = 0, 0.0
        self.failures: list[str] = []
        self._server, self._echo = server, echo
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(REST):
            began = time.monotonic()
            try:
                with Client(self._server.endpoint) as client:
                    client.open(self._echo.host, self._echo.port)
                    assert client.exchange(b"hello") == b"hello"
                self.served += 1
            except (OSError, EOFError, AssertionError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.longest = max(self.longest, time.monotonic() - began)


def run(minutes: float) -> list[str]:
    """Abuse a server of its own; tell figures every minute, and return what was wrong."""
    with tempfile.TemporaryDirectory(prefix="forksocks-abuse-") as folder:
        config = Path(folder, "forksocks.toml")
        config.write_text(CONFIG.replace('"debug"', '"notice"'))
        with started(command(config=config)) as server, origins.serving(origins.echo) as echo:
            with Honest(server, echo):
                _abuse(server, WARM_UP, min(minutes * 6, LONG_WARM_UP))
            pids, kept, filled = server.pids, holdings(server), memory(server)
            with Honest(server, echo) as honest:
                rounds = _abuse(server, 1, minutes * 60)
            eventually(lambda: not _above(kept, holdings(server)))
            left, grown = holdings(server), memory(server) / filled - 1
            wrong = [*_above(kept, left), *honest.failures[:SHOWN]]
            wrong += [f"memory grew by {grown:+.1%}"] if grown > GROWTH else []
            wrong += [f"processes {pids} became {server.pids}"] if server.pids != pids else []
            server.stop()
    print(
        f"abused {rounds * EACH * len(KINDS)} times in {len(KINDS)} ways; the honest client: {honest.served} "
        f"served, {len(honest.failures)} not, {honest.longest:.2f} s at most\n"
        f"before: {_words(kept)}, {filled / MIB:.1f} MiB; after: {_words(left)}, memory {grown:+.1%}"
    )
    return wrong


def _abuse(server: Server, rounds: int, seconds: float) -> int:
    """So many rounds at least, and for so long; each ends when no socket of it is left. How many it did."""
    began = told = time.monotonic()
    done = 0
    while done < rounds or time.monotonic() - began < seconds:
        abuse(server)
        done += 1
        if time.monotonic() - told >= TOLD:
            told = time.monotonic()
            held = f"{_words(holdings(server))}, {memory(server) / MIB:.1f} MiB"
            print(f"{(told - began) / 60:5.1f} min, {done} rounds: {held}", flush=True)
    return done


def _above(kept: Mapping[str, int], left: Mapping[str, int]) -> list[str]:
    return [f"{left[each]} {each} are left of {kept[each]}" for each in kept if left[each] > kept[each]]


def _words(held: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in held.items())
