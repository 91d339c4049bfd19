"""What every verb of the admin process is made of: who asks for what, filters, and the errors.

A verb is a row of a table. It gets a Server, which is one look at the scoreboard, and yields objects as JSON
carries them; those that do not fit the filters are left out. Whoever may only read is not given a verb that
changes something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from time import monotonic_ns
from typing import Any

from forksocks.access.cases import Judge
from forksocks.access.limits import Gauge
from forksocks.config.model import Config
from forksocks.config.values import Wrong, duration
from forksocks.host.deadline import NS
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.books import Seen
from forksocks.host.scoreboard.page import Page
from forksocks.status.lines import Lines
from forksocks.status.watch import Watch

Object = dict[str, Any]

# Other names of fields, as the log and the rules call them.
ALIASES: Mapping[str, str] = {"from": "client"}
# Fields with a host and a port.
ENDPOINTS = frozenset(("client", "to"))
# Filters that compare: of which field the value is the least.
BOUNDS: Mapping[str, str] = {"older": "age", "idler": "idle"}


class BadRequest(Exception):
    """What was asked cannot be answered; the text is one line for a person."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where answers come from. generation, config: which one this is, and what it serves by. agent: the key
    of its lookup agent; bans: where that one writes who is banned. judge: decides as its workers do;
    gauge: says how full their limits are; hits: where they count rules; loud: where they read
    how much is to be logged."""

    watch: Watch
    lines: Lines
    config: Config
    agent: int
    bans: Page
    generation: int
    judge: Judge
    gauge: Gauge
    hits: Sequence[Board]
    loud: Page


@dataclass(frozen=True, slots=True)
class Server:
    """What a verb works with. seen: one look at the scoreboard. filters: what was asked for, by the name of a
    field."""

    sources: Sources
    seen: Seen
    filters: Mapping[str, str]

    @property
    def watch(self) -> Watch:
        """The scoreboard over time."""
        return self.sources.watch

    @property
    def lines(self) -> Lines:
        """The lines to the workers and the agent."""
        return self.sources.lines


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb. fields: what can be asked for by value. reserved: whether
    it is for root and the server's own account alone, as all that changes something."""

    make: Callable[[Server], Iterator[Object]]
    fields: Sequence[str] = ()
    reserved: bool = False


def answer(
    request: object, verbs: Mapping[str, Verb], sources: Sources, may_change: bool
) -> Iterator[Object]:
    """Answer one request. Raises BadRequest, and books.Unsettled."""
    if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
        raise BadRequest("a request is an object with a verb")
    filters = request.get("filters", {})
    if not isinstance(filters, dict) or not all(isinstance(value, str) for value in filters.values()):
        raise BadRequest("filters are texts by name")
    verb = verbs.get(request["verb"])
    if verb is None:
        raise BadRequest(f"there is no verb {request['verb'][:40]!r}")
    if verb.reserved and not may_change:
        raise BadRequest(f"{request['verb']}: only root and the server's own account may do this")
    named = {ALIASES.get(name, name): value for name, value in filters.items()}
    if len(named) < len(filters):  # of two that mean the same field one would be lost
        raise BadRequest("a filter is there twice, by two names")
    unknown = [name for name in named if name not in verb.fields]
    if unknown:
        raise BadRequest(f"no filter {unknown[0][:40]!r}; there are {', '.join(verb.fields) or 'none'}")
    return verb.make(Server(sources, sources.watch.see(), named))


def filtered(objects: Iterator[Object], filters: Mapping[str, str]) -> Iterator[Object]:
    """Those that fit all filters. Raises BadRequest for a value that makes no sense."""
    bounds = {BOUNDS[name]: _seconds(name, value) for name, value in filters.items() if name in BOUNDS}
    values = {name: value for name, value in filters.items() if name not in BOUNDS}
    for each in objects:
        if all(each[field] >= least for field, least in bounds.items()) and all(
            _matches(name, str(each[name]), wanted) for name, wanted in values.items()
        ):
            yield each


def age(since_ns: object) -> float:
    """Seconds since a time of the monotonic clock; 0 for one that is still to come, or none."""
    return max(0, monotonic_ns() - since_ns) / NS if isinstance(since_ns, int) else 0.0


def _seconds(name: str, value: str) -> float:
    try:
        return duration(value)
    except Wrong:
        raise BadRequest(f"{name}= takes a time, as in {name}=10m or {name}=1h") from None


def _matches(field: str, value: str, wanted: str) -> bool:
    """The whole value, a pattern with `*`; of an endpoint the host is enough, or a network that it is in."""
    hosts = [value.rpartition(":")[0].strip("[]"), value] if field in ENDPOINTS else [value]
    if wanted == value or wanted.strip("[]") in hosts:
        return True
    if "*" in wanted:
        return any(fnmatchcase(host, wanted) for host in hosts)
    return "/" in wanted and any(_is_within(host, wanted) for host in hosts)


def _is_within(host: str, wanted: str) -> bool:
    try:
        return ip_address(host) in ip_network(wanted, strict=False)
    except ValueError:
        return False
