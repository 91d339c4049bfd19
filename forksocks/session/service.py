"""What the sessions of one listener share, and how a session ends early."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from forksocks.access.gssapi import Answer
from forksocks.access.handshakes import Handshakes
from forksocks.access.limits import Limits
from forksocks.access.rules import Decision, Rules
from forksocks.access.shares import Shares
from forksocks.config.model import Address, AuthMethod, ListenConfig
from forksocks.host.causes import Cause
from forksocks.host.deadline import Deadline
from forksocks.host.dialled import Dialled
from forksocks.host.log.loudness import Loudness
from forksocks.host.scoreboard.hits import Hits
from forksocks.host.scoreboard.refusals import Refusals
from forksocks.traffic.lookups import Lookups
from forksocks.traffic.pipes import Pipes
from forksocks.traffic.sources import Sources
from forksocks.wire.gssapi import Level
from forksocks.wire.messages import Method

# A blocking receive returns at least this often (SO_RCVTIMEO on the listener), so that deadlines are looked
# at.
TICK = 1.0

# The configuration's words for methods, as they go over the wire.
METHODS: Mapping[AuthMethod, Method] = {
    AuthMethod.NONE: Method.NONE,
    AuthMethod.PASSWORD: Method.PASSWORD,
    AuthMethod.GSSAPI: Method.GSSAPI,
}

Resolve = Callable[[str, Address | None, Deadline], list[Address]]
NameOf = Callable[[Address, Address | None, Deadline], bytes]
Accept = Callable[[bytes, bytes, Address | None, Deadline], Answer]
Verify = Callable[[bytes, bytes, Address | None, Deadline], tuple[str, ...] | None]


class Ended(Exception):
    """The session ends here: why, with what hint for the log, and with which last bytes for the client."""

    def __init__(self, cause: Cause, hint: str | None = None, answer: bytes = b"") -> None:
        super().__init__(cause.value)
        self.cause = cause
        self.hint = hint
        self.answer = answer


class Asked(NamedTuple):
    """A request whose host is an address or a name that may be looked up."""

    command: int
    host: Address | str
    port: int


@dataclass(frozen=True, slots=True)
class Notes:
    """What sessions note beside their slots, with one pen for all of a worker: what was refused last and how
    often each rule has decided. loudness: the log of each client."""

    refusals: Refusals
    hits: Hits
    loudness: Loudness

    def decided(self, before: Decision | None, decision: Decision | None) -> None:
        """Count a rule that has decided, unless it was the last one that did for the same session."""
        if decision is not None and (before is None or before.rule != decision.rule):
            self.hits.note(decision.rule)


@dataclass(frozen=True, slots=True)
class Service:
    """What the sessions of one listener share.

    methods: what it accepts, its favourite first. admits: by method, whether a client from an address is
    served; listed: who is without a password, as --allow-from takes it. rules: the operator's, None where
    there are none. refusal: None for an address that may be dialled, else what stands against it. resolve: a
    name's addresses; raises LookupFailed or TimeoutError. name_of: the name of an address, likewise. lookups:
    `resolve` for those who cannot wait. verify: a user's groups, None if name and password do not belong
    together; raises TimeoutError. accept: what a client's GSSAPI token leads to; raises Refused or
    TimeoutError. protection: what may be agreed on. sources: where to dial from. ports: those
    that this server listens on, to note in `dialled` who dials them. limits: None without any. binds: how
    many waits for a peer each user has. pipes: None where everything is copied.
    """

    listen: ListenConfig
    methods: Sequence[Method]
    admits: Mapping[Method, Callable[[Address | None], bool]]
    listed: str
    rules: Rules | None
    refusal: Callable[[Address], str | None]
    resolve: Resolve
    name_of: NameOf
    lookups: Lookups
    verify: Verify
    accept: Accept
    protection: frozenset[Level]
    sources: Sources
    handshakes: Handshakes
    dialled: Dialled
    ports: frozenset[int]
    limits: Limits | None
    binds: Shares
    notes: Notes
    pipes: Pipes | None
