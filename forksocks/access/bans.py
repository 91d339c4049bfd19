"""Bans by hand: who may not log in because an administrator says so, for a time or until it is lifted.

A network of any size or a name. Unlike those of `throttle` they hold for who has proven a password too.
"""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_network
from time import time

from forksocks.access.networks import unmapped
from forksocks.config.model import Address, Network

MOST = 8192  # bans by hand at a time

Subject = Network | bytes  # where from, or which name
_Prefix = tuple[int, int, int]  # version, bits, and the number that these bits are


class Full(Exception):
    """There are MOST already; the text says so."""


class Bans:
    """The bans by hand of one server. Thread-safe. Times are since the epoch, infinite: until it is lifted.

    changed: whether anything has been changed since the last `dump`.
    """

    def __init__(self, clock: Callable[[], float] = time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[Subject, float] = {}
        self._networks: dict[_Prefix, float] = {}
        self._widths: Counter[tuple[int, int]] = Counter()
        self.changed = False

    def add(self, subject: Subject, until: float) -> None:
        """Ban until then, whatever was said of the same before. Raises Full."""
        with self._lock:
            self._forget_the_past()
            if subject not in self._until and len(self._until) >= MOST:
                raise Full(f"there are {MOST} bans by hand already, which is the most")
            self._put(subject, until)

    def remove(self, concerns: Callable[[Subject], bool], most: int) -> list[tuple[Subject, float]]:
        """Lift those of which this is true, so many at most; return which they were, and until when."""
        with self._lock:
            self._forget_the_past()
            found = [each for each in self._until.items() if concerns(each[0])][:most]
            for subject, _ in found:
                self._drop(subject)
        return found

    def left(self, user: bytes, client: Address | None) -> float | None:
        """For how many seconds more this name may not log in from there; None: it may."""
        with self._lock:
            until = max((self._until.get(user, 0.0), *self._from(client)), default=0.0)
        left = until - self._clock()
        return left if left > 0 else None

    def all(self) -> list[tuple[Subject, float]]:
        """Everyone who is banned now, and until when."""
        with self._lock:
            self._forget_the_past()
            return list(self._until.items())

    def dump(self) -> bytes:
        """Return them all as bytes."""
        self.changed = False
        written = [[_written(subject), None if math.isinf(until) else until] for subject, until in self.all()]
        return json.dumps(written, separators=(",", ":")).encode()

    def load(self, dumped: bytes) -> None:
        """Take over what `dump` gave, here or in another process; what makes no sense is left out."""
        with suppress(ValueError, TypeError, RecursionError):
            for written, until in json.loads(dumped or b"[]")[:MOST]:
                with suppress(ValueError, TypeError, AttributeError, Full):
                    self.add(_read(written), math.inf if until is None else float(until))

    def _from(self, client: Address | None) -> Iterator[float]:
        """Until when each network is banned that a client is in."""
        if client is None:
            return
        for version, width in self._widths:
            if version == client.version:
                yield self._networks.get((version, width, int(client) >> client.max_prefixlen - width), 0.0)

    def _put(self, subject: Subject, until: float) -> None:
        self._drop(subject)
        self._until[subject] = until
        if not isinstance(subject, bytes):
            self._networks[_prefix(subject)] = until
            self._widths[subject.version, subject.prefixlen] += 1

    def _drop(self, subject: Subject) -> None:
        self.changed = True
        if self._until.pop(subject, None) is None or isinstance(subject, bytes):
            return
        del self._networks[_prefix(subject)]
        width = subject.version, subject.prefixlen
        self._widths[width] -= 1
        if not self._widths[width]:
            del self._widths[width]

    def _forget_the_past(self) -> None:
        now = self._clock()
        for subject in [subject for subject, until in self._until.items() if not until > now]:
            self._drop(subject)


def _prefix(network: Network) -> _Prefix:
    width = network.prefixlen
    return network.version, width, int(network.network_address) >> network.max_prefixlen - width


def _written(subject: Subject) -> str:
    return f"user {subject.hex()}" if isinstance(subject, bytes) else f"network {subject}"


def _read(written: str) -> Subject:
    """What `_written` gave. Raises ValueError and what other types make of it."""
    kind, _, text = written.partition(" ")
    return bytes.fromhex(text) if kind == "user" else unmapped(ip_network(text))
