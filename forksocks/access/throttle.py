"""Guessing passwords does not pay: failed logins of an address or a user lead to bans that grow.

Failures are counted by the client's network (an IPv4 address, an IPv6 /64) and by the name that was tried. As
many as allowed within the window ban the network or the name; each further ban of the same one is twice as
long. A client that has logged in from its network before is neither locked out because others guess its name,
nor because others guess from where it is: its pair of name and network has failures of its own, and pauses of
seconds.

Everything is bounded: who was heard of least recently is forgotten first, and nobody is unlimited for that.
The state is a table of fixed-size records, which can be saved and read again.
"""

from __future__ import annotations

import enum
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from time import time
from typing import Any

from forksocks.config.model import Address, LockoutConfig
from forksocks.host.subscriber import subscriber

MOST = 65_536  # records kept
PAUSE = 10.0  # seconds that a pair which has logged in before is held up at most
# A ban is remembered for so many times the longest one, that the next may be longer.
MEMORY = 2

# Kind, subject, failures (as many as the configuration may allow), start of the window, bans, end of the ban,
# whether it has logged in, last heard of.
_RECORD = struct.Struct("=B16sHdHd?d")
_SUBJECT = 16  # bytes that stand for an address or a name


class Kind(enum.IntEnum):
    """What a record is about."""

    NETWORK = 1
    USER = 2
    PAIR = 3


@dataclass(slots=True)
class Record:
    """One subject's failures. window: when counting began; until: end of the ban; times since the epoch."""

    failures: int = 0
    window: float = 0.0
    bans: int = 0
    until: float = 0.0
    known: bool = False
    heard: float = 0.0


@dataclass(frozen=True, slots=True)
class Ban:
    """Who may not log in, and for how many seconds more."""

    kind: Kind
    seconds: float


Key = tuple[Kind, bytes]


class Throttle:
    """The failures of one server. Thread-safe. clock: seconds since the epoch, so that bans outlive us.

    changed: whether anything has been noted since the last `dump`.
    """

    def __init__(self, config: LockoutConfig, clock: Callable[[], float] = time) -> None:
        self._config = config
        self._clock = clock
        self._records: dict[Key, Record] = {}
        self._lock = threading.Lock()
        self.changed = False

    def ban(self, user: bytes, client: Address | None) -> Ban | None:
        """Return what keeps this name from logging in from there now, None if nothing does."""
        now = self._clock()
        with self._lock:
            for key in self._subjects(user, client):
                record = self._records.get(key)
                if record is not None and record.until > now:
                    return Ban(key[0], record.until - now)
        return None

    def failed(self, user: bytes, client: Address | None) -> list[Ban]:
        """Count a wrong password; return the bans that begin with it."""
        if not self._config.failures:
            return []
        now = self._clock()
        with self._lock:
            return [ban for key in self._subjects(user, client) if (ban := self._count(key, now))]

    def _subjects(self, user: bytes, client: Address | None) -> tuple[Key, ...]:
        """Against whom a failure counts: the pair alone, where it has logged in before."""
        pair = _pair(user, client)
        known = self._records.get(pair)
        return (pair,) if known and known.known else (_network(client), _user(user))

    def succeeded(self, user: bytes, client: Address | None) -> None:
        """Remember that this name has logged in from there; what was counted against the pair is forgiven."""
        if not self._config.failures:
            return
        now = self._clock()
        with self._lock:
            pair = self._touch(_pair(user, client), now)
            pair.known = True
            pair.failures = pair.bans = 0
            pair.until = 0.0

    def dump(self, room: int) -> bytes:
        """Return the records as bytes, as many as fit into `room`, those heard of last."""
        self.changed = False
        with self._lock:
            newest = list(self._records.items())[-(room // _RECORD.size) :]
        return b"".join(_packed(key, record) for key, record in newest)

    def load(self, dumped: bytes) -> None:
        """Take over what `dump` gave, here or in another process; what makes no sense is left out."""
        now = self._clock()
        self.changed = bool(dumped)
        whole = len(dumped) - len(dumped) % _RECORD.size
        with self._lock:
            for fields in _RECORD.iter_unpack(dumped[:whole]):
                loaded = _unpacked(fields, now)
                if loaded is not None:
                    key, record = loaded
                    self._records[key] = record

    def bans(self) -> Iterator[tuple[Key, float]]:
        """Yield who is banned, and for how many seconds more."""
        now = self._clock()
        with self._lock:
            banned = [(key, each.until - now) for key, each in self._records.items() if each.until > now]
        yield from banned

    def _count(self, key: Key, now: float) -> Ban | None:
        config = self._config
        record = self._touch(key, now)
        if now - record.window >= config.window:
            record.window, record.failures = now, 0
        if record.until and now - record.until >= MEMORY * config.max_ban:
            record.bans = 0
        record.failures += 1
        if record.failures < config.failures:
            return None
        longest = min(PAUSE, config.max_ban) if key[0] is Kind.PAIR else config.max_ban
        seconds = min(config.ban * 2.0 ** min(record.bans, 32), longest)
        record.failures, record.window = 0, now
        record.bans = min(record.bans + 1, 0xFFFF)
        record.until = now + seconds
        return Ban(key[0], seconds)

    def _touch(self, key: Key, now: float) -> Record:
        """The record of a subject, made if there is none; it is the last to be forgotten."""
        self.changed = True
        record = self._records.pop(key, None) or Record(window=now)
        self._records[key] = record
        record.heard = now
        if len(self._records) > MOST:
            del self._records[next(iter(self._records))]
        return record


def _network(client: Address | None) -> Key:
    return Kind.NETWORK, subscriber(client).to_bytes(_SUBJECT, "big")


def _user(user: bytes) -> Key:
    return Kind.USER, blake2b(user, digest_size=_SUBJECT).digest()


def _pair(user: bytes, client: Address | None) -> Key:
    return Kind.PAIR, blake2b(_network(client)[1] + user, digest_size=_SUBJECT).digest()


def _packed(key: Key, record: Record) -> bytes:
    return _RECORD.pack(
        key[0], key[1], record.failures, record.window, record.bans, record.until, record.known, record.heard
    )


def _unpacked(fields: tuple[Any, ...], now: float) -> tuple[Key, Record] | None:
    """A record as it was dumped; None for one that is empty, or from a clock that has been set back."""
    kind, subject, failures, window, bans, until, known, heard = fields
    if kind not in set(Kind) or not window <= now or not heard <= now or not until >= 0:
        return None
    return (Kind(kind), subject), Record(failures, window, bans, until, known, heard)
