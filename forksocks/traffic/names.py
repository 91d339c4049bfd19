"""Names in datagrams: looked up once, remembered for a while, and nobody else's datagram waits for them.

What comes for a name while it is being looked up is kept, a little of it, and goes out when the answer is
there; UDP promises nothing, so the rest is dropped.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from forksocks.config.model import Address

MOST_NAMES = 64  # remembered
MOST_ASKED = 4  # asked for at once
MOST_WAITING = 8  # datagrams that wait for one name
MOST_BYTES = 64 * 1024  # that wait for all names
KEPT = 30.0  # seconds that an answer is remembered; getaddrinfo(3) tells no time to live
KEPT_FAILURE = 5.0

# Starts a look-up whose end is told from another thread; False: not now.
Ask = Callable[[str, Callable[[list[Address]], None]], bool]


class Waiting(NamedTuple):
    """A datagram that waits for its name: the header it came with, the port, and what it carries."""

    header: bytes
    port: int
    payload: bytes


class Names:
    """The names of one association. `bell` becomes readable when an answer has come: `take` it then.

    It is a pipe's descriptor, None before the first question.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._known: dict[str, tuple[list[Address], float]] = {}
        self._waiting: dict[str, list[Waiting]] = {}
        self._bytes = 0
        self._answers: deque[tuple[str, list[Address]]] = deque()
        self._lock = threading.Lock()
        self._clapper: int | None = None
        self.bell: int | None = None

    def addresses(self, name: str, now: float) -> list[Address] | None:
        """The addresses of a name that is known, none if it has none; None if it has to be asked for."""
        addresses, until = self._known.get(name, (None, 0.0))
        return addresses if now < until else None

    def wait(self, name: str, datagram: Waiting) -> bool:
        """Ask for a name, and keep a datagram until the answer has come; False: it has no place to wait."""
        waiting = self._waiting.get(name)
        if waiting is None:
            if len(self._waiting) >= MOST_ASKED or not self._start(name):
                return False
            waiting = self._waiting[name] = []
        size = len(datagram.payload)
        if len(waiting) >= MOST_WAITING or self._bytes + size > MOST_BYTES:
            return False
        self._bytes += size
        waiting.append(datagram)
        return True

    def take(self, now: float) -> list[tuple[str, list[Waiting]]]:
        """The names whose answers have come, `addresses` knows them now, and what waited for each."""
        assert self.bell is not None
        os.read(self.bell, MOST_ASKED)
        taken = []
        while self._answers:
            name, addresses = self._answers.popleft()
            if len(self._known) >= MOST_NAMES:
                self._known.clear()
            self._known[name] = addresses, now + (KEPT if addresses else KEPT_FAILURE)
            waiting = self._waiting.pop(name)
            self._bytes -= sum(len(each.payload) for each in waiting)
            taken.append((name, waiting))
        return taken

    def _start(self, name: str) -> bool:
        if self.bell is None:
            try:
                self.bell, self._clapper = os.pipe()
            except OSError:
                return False

        def tell(addresses: list[Address]) -> None:
            with self._lock:  # once the association has ended, the descriptor's number may be another's
                if self._clapper is not None:
                    self._answers.append((name, addresses))
                    os.write(self._clapper, b"!")

        return self._ask(name, tell)

    def close(self) -> None:
        """Give the pipe back; answers that come now are heard by nobody."""
        with self._lock:
            ends, self.bell, self._clapper = (self.bell, self._clapper), None, None
        for end in ends:
            if end is not None:
                os.close(end)
