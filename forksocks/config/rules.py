"""Who may do what, as it was told: rules, what they refer to, and tests of them.

`config.model` names everything of this; `access.rules` and `access.limits` say what it means.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from forksocks.config.addresses import Address, Network
from forksocks.config.commands import CommandName, Ports, Rate
from forksocks.config.levels import Level


class Action(enum.Enum):
    """What a rule does; REPORT allows, and logs that it would have denied."""

    ALLOW = "allow"
    DENY = "deny"
    DROP = "drop"
    REPORT = "report"

    @property
    def allows(self) -> bool:
        """Whether the client gets what it asked for."""
        return self in (Action.ALLOW, Action.REPORT)


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of a week, as `time.localtime` numbers them."""


@dataclass(frozen=True, slots=True)
class Window:
    """Hours on some days: `days` by number (0 is Monday), minutes of the day from `start` until before `end`.

    One that ends before it begins goes on past midnight.
    """

    days: tuple[int, ...]
    start: int
    end: int

    def __str__(self) -> str:
        """As a user writes it: `mon,tue 08:00-18:00`."""
        hours = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.start, self.end))
        return f"{','.join(DAYS[day] for day in self.days)} {hours}"


class Per(enum.Enum):
    """Whom a limit counts apart; addresses by their /32 and /128, or by wider prefixes."""

    USER = "user"
    ADDRESS = "address"
    NETWORK = "address/24+64"
    LISTENER = "listen"
    RULE = "rule"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class LimitConfig:
    """How much one user, address ... may have. None: as much as it likes.

    connections: sessions at a time, of every command; associations: of UDP ASSOCIATE alone.
    """

    per: Per
    connections: int | None = None
    associations: int | None = None
    new: Rate | None = None


# In the lists of rules and sets a text that begins with "@" names a set, one with "file:" a list of entries.
Selector = str | Network


@dataclass(frozen=True, slots=True)
class SetConfig:
    """Pieces of rules under a name: `@name` in a rule's list stands for the set's list of the same key."""

    clients: tuple[Selector, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    to: tuple[Selector, ...] = ()
    ports: tuple[Ports, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleConfig:
    """One access rule; a list that is empty fits everything, lists of different keys must all fit.

    Of what it allows: limits that hold; egress: own addresses that it goes out from, at most one a family;
    interface: by which it leaves, whatever the routes say; idle: seconds of silence that end a tunnel; log:
    how much is logged of it, of what it denies too. None: as elsewhere.
    """

    name: str
    action: Action
    clients: tuple[Selector, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    commands: tuple[CommandName, ...] = ()
    to: tuple[Selector, ...] = ()
    ports: tuple[Ports | str, ...] = ()
    times: tuple[Window, ...] = ()
    limits: tuple[str, ...] = ()
    egress: tuple[Address, ...] = ()
    interface: str | None = None
    idle: float | None = None
    log: Level | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """Who asks for what in a [[test]]; `address` is what a name resolves to, where that matters.

    listen None: the first listener. client None: a client of a unix socket.
    """

    to: str
    client: Address | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    listen: str | None = None
    command: CommandName = CommandName.CONNECT
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """A decision that has to come out as expected: "allow", "deny no-smtp", "deny @loopback"."""

    given: Case
    expect: str
