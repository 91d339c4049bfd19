"""How much one user, address, listener or rule may have: sessions at a time, new ones over time.

A limit that rules name holds for what those rules allow; one that no rule names holds for everyone. It is
counted over all workers (`host.scoreboard.claims`), when a request has been granted and nothing was dialled
yet; until then a client costs what `access.handshakes` leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from time import monotonic_ns

from forksocks.access.rules import Question
from forksocks.config.model import CommandName, Config, LimitConfig, Per
from forksocks.host.scoreboard.claims import Claims

NS = 1_000_000_000

# What a limit counts apart, as bytes; None for what it does not hold for.
_SUBJECTS: Mapping[Per, Callable[[Question, str | None], bytes | None]] = {
    Per.USER: lambda question, rule: question.user,
    Per.ADDRESS: lambda question, rule: _prefix(question, 32, 128),
    Per.NETWORK: lambda question, rule: _prefix(question, 24, 64),
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
    """What one session has claimed; `give` it back when the session ends."""

    claims: Claims
    row: int

    def give(self) -> None:
        """Give everything back."""
        self.claims.give_row(self.row)


class Exceeded(Exception):
    """A limit is reached; the text says which, for the log: `person: 200 connections`."""


class Limits:
    """The limits of a configuration as one worker applies them. Thread-safe.

    key: a secret of the server's start, the same in all workers, so that no client can choose whom it shares
    an entry with.
    """

    def __init__(self, config: Config, claims: Claims, key: bytes) -> None:
        self._claims = claims
        self._key = key
        self._limits = list(self._columned(config.limit))
        named = {name for rule in config.rule for name in rule.limits}
        self._everyones = frozenset(config.limit) - named
        self._of_rule = {rule.name: self._everyones | frozenset(rule.limits) for rule in config.rule}

    def claim(self, question: Question, rule: str | None) -> Holding:
        """Claim a place for a session that `rule` allows, None without rules. Raises Exceeded."""
        holding = Holding(self._claims, self._claims.take_row())
        try:
            wanted = self._of_rule.get(rule, self._everyones) if rule else self._everyones
            for name, limit, column in self._limits:
                if name in wanted:
                    self._apply(name, limit, column, holding.row, question, rule)
        except BaseException:
            holding.give()
            raise
        return holding

    def _columned(self, limits: Mapping[str, LimitConfig]) -> Iterator[tuple[str, LimitConfig, int]]:
        column = 0
        for name, limit in limits.items():
            yield name, limit, column
            column += (limit.connections is not None) + (limit.associations is not None)

    def _apply(
        self, name: str, limit: LimitConfig, column: int, row: int, question: Question, rule: str | None
    ) -> None:
        subject = _SUBJECTS[limit.per](question, rule)
        if subject is None:
            return
        is_association = question.command is CommandName.UDP
        for kind, most in (("connections", limit.connections), ("associations", limit.associations)):
            if most is None:
                continue
            if (kind == "connections" or is_association) and not self._claims.claim(
                row, column, self._number(name, kind, subject), most
            ):
                raise Exceeded(f"{name}: {most} {kind}")
            column += 1
        if limit.new is not None:
            window = max(1, int(limit.new.burst / limit.new.per_second * NS))
            number = self._number(name, "new", subject)
            if not self._claims.arrive(number, monotonic_ns(), window, limit.new.burst):
                raise Exceeded(f"{name}: new {limit.new}")

    def _number(self, name: str, kind: str, subject: bytes) -> int:
        """What stands for a subject under a limit on the boards; never 0, which is nobody's."""
        text = f"{name} {kind} ".encode() + subject
        return int.from_bytes(blake2b(text, key=self._key, digest_size=8).digest(), "big") or 1


def _prefix(question: Question, v4: int, v6: int) -> bytes | None:
    """The client's address up to so many bits; clients of a unix socket are one."""
    client = question.client
    if client is None:
        return b""
    kept = v4 if client.version == 4 else v6
    return client.packed[: kept // 8]
