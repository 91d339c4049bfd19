"""Guessing passwords does not pay: failed logins of an address or a user lead to bans that grow.

Failures are counted by the client's network (an IPv4 address, an IPv6 /64) and by the name that was tried. As
many as allowed within the window ban the network or the name; each further ban of the same one is twice as
long. A client that has logged in from its network before is neither locked out because others guess its name,
nor because others guess from where it is: its pair of name and network has failures of its own, and pauses of
seconds.

Everything is bounded: who was heard of least recently is forgotten first, and nobody is unlimited for that.
The state is a table of records, which can be saved and read again; a name is in it once it is banned, before
that only its digest.
"""

from __future__ import annotations

import enum
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b
from time import time

from forksocks.config.model import Address, LockoutConfig
from forksocks.host.subscriber import subscriber

MOST = 65_536  # records kept
PAUSE = 10.0  # seconds that a pair which has logged in before is held up at most
# A ban is remembered for so many times the longest one, that the next may be longer.
MEMORY = 2

# Kind, subject, failures (as many as the configuration may allow), start of the window, bans, end of the ban,
# whether it has logged in, last heard of, failures in all, and the length of the name that follows.
_RECORD = struct.Struct("=B16sHdHd?dHH")
_SUBJECT = 16  # bytes that stand for an address or a name
_MOST_COUNTED = 0xFFFF


class Kind(enum.IntEnum):
    """What a record is about."""

    NETWORK = 1
    USER = 2
    PAIR = 3


@dataclass(slots=True)
class Record:
    """One subject's failures. window: when counting began; until: end of the ban; times since the epoch.

    total: failures in all, those before a ban too. name: of a banned user, of a pair the network first.
    """

    failures: int = 0
    window: float = 0.0
    bans: int = 0
    until: float = 0.0
    known: bool = False
    heard: float = 0.0
    total: int = 0
    name: bytes = b""


@dataclass(frozen=True, slots=True)
class Ban:
    """Who may not log in, and for how many seconds more."""

    kind: Kind
    seconds: float


Key = tuple[Kind, bytes]


@dataclass(frozen=True, slots=True)
class Banned:
    """Who is banned, as a person is told: a network, a user, or a user from one network."""

    key: Key
    record: Record

    @property
    def network(self) -> int | None:
        """From where, as `subscriber` has it; None: from anywhere."""
        kind, subject = self.key
        where = {Kind.NETWORK: subject, Kind.PAIR: self.record.name[:_SUBJECT]}.get(kind)
        return None if where is None else int.from_bytes(where, "big")

    @property
    def user(self) -> bytes:
        """By which name; b"": by any."""
        return self.record.name[_SUBJECT:] if self.key[0] is Kind.PAIR else self.record.name


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
            subjects = self._subjects(user, client)
            return [ban for key in subjects if (ban := self._count(key, _text(key[0], user, client), now))]

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

    def pardon(self, concerns: Callable[[Banned], bool], most: int) -> list[Banned]:
        """Forget what is counted against those banned of whom this is true, so many at most; return who."""
        found = [each for each in self.bans() if concerns(each)][:most]
        with self._lock:
            for each in found:
                self._records.pop(each.key, None)
                self.changed = True
        return found

    def dump(self, room: int) -> bytes:
        """Return the records as bytes, as many as fit into `room`, those heard of last."""
        self.changed = False
        with self._lock:
            records = list(self._records.items())
        newest: list[bytes] = []
        for key, record in reversed(records):
            packed = _packed(key, record)
            room -= len(packed)
            if room < 0:
                break
            newest.append(packed)
        return b"".join(reversed(newest))

    def load(self, dumped: bytes) -> None:
        """Take over what `dump` gave, here or in another process; what makes no sense is left out."""
        now = self._clock()
        self.changed = bool(dumped)
        with self._lock:
            self._records |= {key: record for key, record in records(dumped) if _is_sound(record, now)}

    def bans(self) -> Iterator[Banned]:
        """Yield who is banned now."""
        now = self._clock()
        with self._lock:
            banned = [Banned(key, replace(each)) for key, each in self._records.items() if each.until > now]
        yield from banned

    def _count(self, key: Key, text: bytes, now: float) -> Ban | None:
        config = self._config
        record = self._touch(key, now)
        if now - record.window >= config.window:
            record.window, record.failures = now, 0
        if record.until and now - record.until >= MEMORY * config.max_ban:
            record.bans = 0
        record.failures += 1
        record.total = min(record.total + 1, _MOST_COUNTED)
        if record.failures < config.failures:
            return None
        longest = min(PAUSE, config.max_ban) if key[0] is Kind.PAIR else config.max_ban
        seconds = min(config.ban * 2.0 ** min(record.bans, 32), longest)
        record.failures, record.window = 0, now
        record.bans = min(record.bans + 1, _MOST_COUNTED)
        record.name = text
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


def _text(kind: Kind, user: bytes, client: Address | None) -> bytes:
    """What a subject's digest does not tell, for who is banned; of a pair the network comes first."""
    return {Kind.NETWORK: b"", Kind.USER: user, Kind.PAIR: _network(client)[1] + user}[kind]


def _packed(key: Key, record: Record) -> bytes:
    name = record.name
    fields = (record.failures, record.window, record.bans, record.until, record.known, record.heard)
    return _RECORD.pack(key[0], key[1], *fields, record.total, len(name)) + name


def records(dumped: bytes) -> Iterator[tuple[Key, Record]]:
    """What `Throttle.dump` gave; it ends where something is none of it."""
    at = 0
    while len(dumped) - at >= _RECORD.size:
        fields = _RECORD.unpack_from(dumped, at)
        kind, subject, length = fields[0], fields[1], fields[-1]
        at += _RECORD.size + length
        if kind not in set(Kind) or at > len(dumped):
            return
        record = Record(*fields[2:-1])
        record.name = dumped[at - length : at]
        yield (Kind(kind), subject), record


def _is_sound(record: Record, now: float) -> bool:
    """Whether it is no empty one, and not from a clock that has been set back."""
    return record.window <= now and record.heard <= now and record.until >= 0
