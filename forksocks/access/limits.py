"""How much one user, address, listener or rule may have: sessions at a time, new ones over time.

A limit that rules name holds for what those rules allow; one that no rule names holds for everyone. It is
counted over all workers (`host.scoreboard.claims`), when a request has been granted and nothing was dialled
yet; until then a client costs what `access.handshakes` leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from time import monotonic_ns
from typing import NamedTuple

from forksocks.access.rules import Question
from forksocks.config.model import CommandName, Config, LimitConfig, Per, Rate
from forksocks.host.deadline import NS
from forksocks.host.scoreboard.claims import ClaimBoard, Claims

NEW = "new"
# The prefixes that are counted together under `address/24+64`, of IPv4 and IPv6.
PREFIXES: Mapping[int, int] = {4: 24, 6: 64}

# What a limit counts apart, as bytes; None for what it does not hold for.
_SUBJECTS: Mapping[Per, Callable[[Question, str | None], bytes | None]] = {
    Per.USER: lambda question, rule: question.user,
    Per.ADDRESS: lambda question, rule: _prefix(question, 32, 128),
    Per.NETWORK: lambda question, rule: _prefix(question, PREFIXES[4], PREFIXES[6]),
    Per.LISTENER: lambda question, rule: question.listener.encode(),
    Per.RULE: lambda question, rule: (rule or "").encode(),
    Per.ALL: lambda question, rule: b"",
}


def columns(config: Config) -> int:
    """How many claims a session may need."""
    return sum(
        (each.connections is not None) + (each.associations is not None) for each in config.limit.values()
    )


@dataclass(slots=True)
class Holding:
    """What one session has claimed, of limits by name; `give` it back when the session ends."""

    claims: Claims
    row: int
    names: set[str] = field(default_factory=set)

    def give(self) -> None:
        """Give everything back."""
        self.claims.give_row(self.row)


class Exceeded(Exception):
    """A limit is reached; the text says which, for the log: `person: 200 connections`."""


class Applying(NamedTuple):
    """A limit that holds for somebody: the first column of its claims, and whom it counts apart."""

    name: str
    limit: LimitConfig
    column: int
    subject: bytes

    def kinds(self, command: CommandName) -> Iterator[tuple[str, int, int]]:
        """What it counts of a session of this command: the word, how many there may be, the column."""
        column = self.column
        if self.limit.connections is not None:
            yield "connections", self.limit.connections, column
            column += 1
        if self.limit.associations is not None and command is CommandName.UDP:
            yield "associations", self.limit.associations, column


class Which:
    """Which limits of a configuration hold for whom, and by which numbers the boards know them.

    key: a secret of the server's start, the same in all workers, so that no client can choose whom it shares
    an entry with.
    """

    def __init__(self, config: Config, key: bytes) -> None:
        self._key = key
        self._limits = list(self._columned(config.limit))
        named = {name for rule in config.rule for name in rule.limits}
        self._everyones = frozenset(config.limit) - named
        self._of_rule = {rule.name: self._everyones | frozenset(rule.limits) for rule in config.rule}

    def hold_for(self, question: Question, rule: str | None) -> Iterator[Applying]:
        """Those that hold for a session that `rule` allows, None without rules."""
        wanted = self._of_rule.get(rule, self._everyones) if rule else self._everyones
        for name, limit, column in self._limits:
            if name in wanted:
                subject = _SUBJECTS[limit.per](question, rule)
                if subject is not None:
                    yield Applying(name, limit, column, subject)

    def number(self, each: Applying, kind: str) -> int:
        """What stands for a subject under a limit on the boards; never 0, which is nobody's."""
        text = f"{each.name} {kind} ".encode() + each.subject
        return int.from_bytes(blake2b(text, key=self._key, digest_size=8).digest(), "big") or 1

    def _columned(self, limits: Mapping[str, LimitConfig]) -> Iterator[tuple[str, LimitConfig, int]]:
        column = 0
        for name, limit in limits.items():
            yield name, limit, column
            column += (limit.connections is not None) + (limit.associations is not None)


class Limits:
    """The limits of a configuration as one worker applies them. Thread-safe. key: as of Which."""

    def __init__(self, config: Config, claims: Claims, key: bytes) -> None:
        self._claims = claims
        self._which = Which(config, key)

    def claim(self, question: Question, rule: str | None) -> Holding:
        """Claim a place for a session that `rule` allows, None without rules. Raises Exceeded."""
        holding = Holding(self._claims, self._claims.take_row())
        try:
            self.claim_more(holding, question, rule)
        except BaseException:
            holding.give()
            raise
        return holding

    def claim_more(self, holding: Holding, question: Question, rule: str | None) -> None:
        """Let a session count for what else holds where `rule` allows something to it. Raises Exceeded."""
        for each in self._which.hold_for(question, rule):
            if each.name not in holding.names:
                self._apply(each, holding.row, question.command)
                holding.names.add(each.name)

    def _apply(self, each: Applying, row: int, command: CommandName) -> None:
        for kind, most, column in each.kinds(command):
            if not self._claims.claim(row, column, self._which.number(each, kind), most):
                raise Exceeded(f"{each.name}: {most} {kind}")
        new = each.limit.new
        if new is not None:
            number = self._which.number(each, NEW)
            if not self._claims.arrive(number, monotonic_ns(), _window(new), new.burst):
                raise Exceeded(f"{each.name}: new {new}")


class Fill(NamedTuple):
    """How full a limit is: so many of so many; of the new ones about how many within its window."""

    limit: str
    kind: str
    now: float
    most: int

    @property
    def is_full(self) -> bool:
        """Whether one more would be over it."""
        return self.now + 1 > self.most

    def __str__(self) -> str:
        """`3 of 200 connections`."""
        return f"{self.now:.0f} of {self.most} {self.kind}"


class Gauge:
    """How full the limits are, for who only looks on. boards: those of all workers."""

    def __init__(self, config: Config, boards: Sequence[ClaimBoard], key: bytes) -> None:
        self._boards = boards
        self._which = Which(config, key)

    def fills(self, question: Question, rule: str | None) -> Iterator[Fill]:
        """Of each limit that would hold for a session that `rule` allows."""
        for each in self._which.hold_for(question, rule):
            for kind, most, _ in each.kinds(question.command):
                number = self._which.number(each, kind)
                yield Fill(each.name, kind, sum(board.count(number) for board in self._boards), most)
            if (new := each.limit.new) is not None:
                number, now, window = self._which.number(each, NEW), monotonic_ns(), _window(new)
                counted = sum(board.arrived(number, now, window) for board in self._boards)
                yield Fill(each.name, NEW, counted, new.burst)


def _window(new: Rate) -> int:
    """In how many nanoseconds a limit lets as many new ones in as its burst is."""
    return max(1, int(new.burst / new.per_second * NS))


def _prefix(question: Question, v4: int, v6: int) -> bytes | None:
    """The client's address up to so many bits; clients of a unix socket are one."""
    client = question.client
    if client is None:
        return b""
    kept = v4 if client.version == 4 else v6
    return client.packed[: kept // 8]
