"""The operator's list of rules: the first that fits decides, and where none fits the answer is no.

A destination that was asked for by name is decided on twice: on the name, before anyone looks it up, and on
the name with each address that it turned out to have. While a rule further up could still fit because of an
address, the name alone is not decided on. What is a denial either time is a denial.

Rules are numbered bits and every kind of condition is a table of `masks`, so that a decision costs the same
few look-ups for ten rules and for a thousand with lists of a hundred thousand entries. Everything is built
once, before workers are forked, and shared by them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from forksocks.access import masks
from forksocks.access.networks import embedded
from forksocks.config.model import Action, Address, CommandName, Level, Network, Ports, Window
from forksocks.config.sets import ANY


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule with everything that it refers to in it; an empty condition fits everything.

    to_names: lowered; with a leading dot whatever is below. Users are bytes as they came (RFC 1929).
    """

    name: str
    action: Action
    clients: tuple[str | Network, ...] = ()
    users: tuple[bytes, ...] = ()
    groups: tuple[str, ...] = ()
    listeners: tuple[str, ...] = ()
    commands: tuple[CommandName, ...] = ()
    to_networks: tuple[str | Network, ...] = ()
    to_names: tuple[str, ...] = ()
    ports: tuple[Ports, ...] = ()
    times: tuple[Window, ...] = ()
    egress: tuple[Address, ...] = ()
    interface: str | None = None
    idle: float | None = None
    log: Level | None = None

    @property
    def has_destination(self) -> bool:
        """Whether it fits some hosts only."""
        return bool(self.to_networks or self.to_names)


@dataclass(frozen=True, slots=True)
class Question:
    """Who asks for what. client: None on a unix socket; name, address: what is known of the host.

    groups: those that the user is in.
    """

    client: Address | None
    user: bytes | None
    listener: str
    command: CommandName
    name: str | None
    address: Address | None
    port: int
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What the list says: the action, and the rule's name; None where no rule fitted.

    egress: the own address to go out from, by IP version, where the rule says; interface, idle, log: as
    RuleConfig has them.
    """

    action: Action
    rule: str | None
    egress: Mapping[int, Address] = field(default_factory=dict)
    idle: float | None = None
    log: Level | None = None
    interface: str | None = None

    @property
    def allowed(self) -> bool:
        """Whether the client gets what it asked for."""
        return self.action.allows


NO_RULE = Decision(Action.DENY, None)


class Rules:
    """A compiled list. Thread-safe and immutable, but for the cache of what the time of day excludes.

    choose_egress: whether any of them says where from.

    clock: seconds since the epoch; times are local ones.
    """

    def __init__(self, rules: Sequence[Rule], clock: Callable[[], float] = time.time) -> None:
        self.rules = tuple(rules)
        self._clock = clock
        self._decisions = [_decision(rule) for rule in rules]
        self.choose_egress = any(rule.egress or rule.interface for rule in rules)
        self._clients = masks.Networks([rule.clients or (ANY,) for rule in rules], ANY)
        self._clientless = _mask(not rule.clients or ANY in rule.clients for rule in rules)
        self._users = masks.Words(rule.users for rule in rules)
        self._groups = masks.Words(rule.groups for rule in rules)
        self._listeners = masks.Words(rule.listeners for rule in rules)
        self._commands = masks.Words(rule.commands for rule in rules)
        self._ports = masks.Ports([(p.first, p.last) for p in rule.ports] for rule in rules)
        self._networks = masks.Networks([rule.to_networks for rule in rules], ANY)
        self._names = masks.Names(rule.to_names for rule in rules)
        self._anywhere = _mask(not rule.has_destination for rule in rules)
        self._by_address = _mask(bool(rule.to_networks) for rule in rules)
        self._denying = _mask(rule.action in (Action.DENY, Action.DROP) for rule in rules)
        self._timed = any(rule.times for rule in rules)
        self._minute = -1
        self._now = _mask(True for _ in rules)

    def __bool__(self) -> bool:
        return bool(self.rules)

    @property
    def names(self) -> tuple[str | None, ...]:
        """What decisions call their rule: the names in their order, and None at the end; none without any."""
        return (*(rule.name for rule in self.rules), None) if self.rules else ()

    def decide(self, question: Question) -> Decision | None:
        """Return the decision; None if it depends on the address, which the question does not know yet."""
        asked = self._asked(question)
        certain = asked & self._at(question)
        decision = self._decisions[masks.first(certain)] if certain else NO_RULE
        if question.address is None:
            undecided = asked & self._by_address & masks.before(certain)
            if not decision.allowed:
                undecided &= ~self._denying  # it would only be another reason for the same answer
            if undecided:
                return None
        return decision

    def tried(self, question: Question) -> Iterator[tuple[Rule, tuple[str, ...]]]:
        """Yield each rule up to the one that decides, with the conditions that keep it from fitting."""
        tables = {
            "clients": self._from(question.client),
            "users": self._users.fitting(question.user),
            "groups": self._groups.fitting_any(question.groups),
            "listeners": self._listeners.fitting(question.listener),
            "commands": self._commands.fitting(question.command),
            "to": self._at(question),
            "ports": self._ports.fitting(question.port),
            "times": self._in_time(),
        }
        for number, rule in enumerate(self.rules):
            against = tuple(kind for kind, mask in tables.items() if not mask >> number & 1)
            yield rule, against
            if not against:
                return

    def _asked(self, question: Question) -> masks.Mask:
        """The rules that fit in everything but the host."""
        return (
            self._from(question.client)
            & self._users.fitting(question.user)
            & self._groups.fitting_any(question.groups)
            & self._listeners.fitting(question.listener)
            & self._commands.fitting(question.command)
            & self._ports.fitting(question.port)
            & self._in_time()
        )

    def _from(self, client: Address | None) -> masks.Mask:
        """Rules by client; an IPv6 identifier that spells an IPv4 address is its owner's choice, no proof."""
        if client is None:
            return self._clientless
        return self._clients.listed(client) if embedded(client) else self._clients.fitting(client)

    def _at(self, question: Question) -> masks.Mask:
        """Rules by host, as far as it is known."""
        mask = self._anywhere
        if question.name is not None:
            mask |= self._names.fitting(question.name)
        address = question.address
        if address is None:
            return mask
        inside = embedded(address)
        if inside is None:
            return mask | self._networks.fitting(address)
        # A gateway would unpack it: what is inside can shut it out, and cannot let it in.
        wrapped = self._networks.fitting(address) | self._networks.fitting(inside)
        return mask | self._networks.listed(address) | (wrapped & self._denying)

    def _in_time(self) -> masks.Mask:
        """Rules by the time of day, looked at once a minute."""
        if not self._timed:
            return self._now
        minute = int(self._clock() // 60)
        if minute != self._minute:
            local = time.localtime(minute * 60)
            at = local.tm_wday, local.tm_hour * 60 + local.tm_min
            self._now = _mask(
                not rule.times or any(_inside(w, *at) for w in rule.times) for rule in self.rules
            )
            self._minute = minute
        return self._now


def _decision(rule: Rule) -> Decision:
    egress: dict[int, Address] = {each.version: each for each in rule.egress}
    return Decision(rule.action, rule.name, egress, rule.idle, rule.log, rule.interface)


def _mask(fits: Iterable[bool]) -> masks.Mask:
    return sum(1 << number for number, each in enumerate(fits) if each)


def _inside(window: Window, day: int, minute: int) -> bool:
    """Whether a day (0 is Monday) and minute lie in a window, which may go on past midnight."""
    if window.start < window.end:
        return day in window.days and window.start <= minute < window.end
    began = day if minute >= window.start else (day - 1) % 7
    return began in window.days and not window.end <= minute < window.start
