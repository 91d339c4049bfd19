"""A request's answer: objects as JSON carries them, one after the other.

Times are seconds, sizes bytes; ages count from now. A verb that nobody knows and a filter that makes no sense
are a BadRequest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from forksocks.config import flat
from forksocks.host.causes import Cause
from forksocks.host.deadline import NS
from forksocks.host.scoreboard import layout, reading
from forksocks.host.scoreboard.books import Seen
from forksocks.host.scoreboard.layout import COMMAND_NAMES, COUNTERS, LOGIN_NAMES
from forksocks.status import (
    bans,
    explain,
    frame,
    limits,
    loudness,
    recheck,
    refusals,
    rules,
    top,
    tunnels,
)
from forksocks.status.frame import BadRequest, Object, Server, Sources, Verb, age

__all__ = ["VERBS", "BadRequest", "answer"]


def status(server: Server) -> Iterator[Object]:
    """The server in one object."""
    seen = server.seen
    counters = _over_all(seen)
    states: Counter[str] = Counter()
    for board in server.watch.boards.values():
        states.update(reading.states(board))
    facts = seen.facts
    yield {
        "version": facts.get("version"), "pid": facts.get("pid"), "state": facts.get("state"),
        "uptime": age(facts.get("started_ns")), "generation": facts.get("generation"),
        "listeners": list(listeners(server)), "workers": list(workers(server)),
        "sessions": {"open": sum(states.values()), "states": dict(states)},
        "rates": server.watch.rates(),
        "totals": _totals(counters) | _full(*seen.totals.heads),
        "sandbox": facts.get("sandbox", {}), "log": loudness.now(server),
        "deaths": seen.totals.deaths, "outcomes": facts.get("outcomes", {}),
    }  # fmt: skip


def workers(server: Server) -> Iterator[Object]:
    """The workers of all generations."""
    seen = server.seen
    for process in seen.facts.get("processes", ()):
        board = server.watch.boards.get(process["key"])
        if process["role"] != "worker" or board is None:
            continue
        head = reading.head(board)
        counted = dict(zip(COUNTERS, _sum(seen, process["key"]), strict=True))
        yield {
            "worker": process["number"], "pid": process["pid"], "generation": process["generation"],
            "age": age(process["born_ns"]), "silent": age(head.heartbeat), "ready": process["ready"],
            "draining": process["ending"] or head.draining,
            "sessions": sum(reading.states(board).values()), "threads": head.threads,
            "cap": seen.facts.get("threads"), "waiting": head.waiting, "accepted": counted["accepted"],
            "up": counted["up"], "down": counted["down"],
            **_full(head.full_times, head.full_ns),
        }  # fmt: skip


def listeners(server: Server) -> Iterator[Object]:
    """The listeners that are served, and those of before that have counted something."""
    seen = server.seen
    addresses: dict[str, list[str]] = {}
    for listener in seen.facts.get("listeners", ()):
        addresses.setdefault(listener["name"], []).append(listener["address"])
    for name in dict.fromkeys([*addresses, *seen.totals.listeners]):
        counters = seen.totals.listeners.get(name, [0] * len(COUNTERS))
        totals = _totals(dict(zip(COUNTERS, counters, strict=True)))
        elsewhere = reading.open_sessions(seen.before.listeners.get(name, [0] * len(COUNTERS)))
        opened = max(0, reading.open_sessions(counters) - elsewhere)
        yield {"listener": name, "addresses": addresses.get(name, []), "sessions": opened, **totals}


def causes(server: Server) -> Iterator[Object]:
    """How often sessions have ended for each cause, over all listeners, the most frequent first."""
    counters = _over_all(server.seen)
    for cause in sorted(Cause, key=lambda cause: -counters[cause.value]):
        yield {"cause": cause.value, "sessions": counters[cause.value], "meaning": cause.meaning}


def settings(server: Server) -> Iterator[Object]:
    """What the server serves by: each dotted key and its value, as TOML has it."""
    for key, value in flat.flat(server.sources.config).items():
        yield {"key": key, "value": value}


def _listing(make: Callable[[Server], Iterator[Object]], *fields: str) -> Verb:
    """A list whose objects are filtered as they are made."""
    return Verb(lambda server: frame.filtered(make(server), server.filters), fields)


# All that one answer says is from one look at the books.
VERBS: Mapping[str, Verb] = {
    "status": Verb(status),
    "workers": _listing(workers, "worker", "pid", "generation", "draining", "ready"),
    "listeners": _listing(listeners, "listener"),
    "causes": _listing(causes, "cause"),
    "tunnels": Verb(tunnels.tunnels, tunnels.FIELDS),
    "tunnel": Verb(tunnels.tunnel, ("id",)),
    "top": Verb(lambda server: top.top(server, next(status(server))), top.FIELDS),
    "users": Verb(tunnels.users, ("user",)),
    "clients": Verb(tunnels.clients, ("client",)),
    "rules": _listing(rules.rules, "rule", "action"),
    "limits": _listing(limits.limits, "limit", "per"),
    "refusals": _listing(refusals.refusals, *refusals.FIELDS),
    "bans": _listing(bans.bans, *bans.FIELDS),
    "ban": Verb(bans.ban, bans.ABOUT, reserved=True),
    "unban": Verb(bans.unban, bans.ABOUT, reserved=True),
    "log-level": Verb(loudness.set_level, loudness.FIELDS, reserved=True),
    "recheck": Verb(recheck.recheck),
    "recheck-end": Verb(recheck.end, reserved=True),
    "explain": Verb(explain.explain, explain.FIELDS),
    "settings": Verb(settings, reserved=True),  # a helper's command may hold a password
    "end": Verb(tunnels.end, tunnels.FIELDS, reserved=True),
}


def answer(request: object, sources: Sources, may_change: bool) -> Iterator[Object]:
    """Answer one request. Raises BadRequest, and books.Unsettled."""
    return frame.answer(request, VERBS, sources, may_change)


def _over_all(seen: Seen) -> dict[str, int]:
    """Every counter by its name, over all listeners."""
    sums = [sum(column) for column in zip(*seen.totals.listeners.values(), strict=True)]
    return dict(zip(COUNTERS, sums or [0] * len(COUNTERS), strict=True))


def _sum(seen: Seen, key: int) -> list[int]:
    """What one worker has counted, over its listeners."""
    columns = zip(*seen.sums.get(key, {}).values(), strict=True)
    return [sum(column) for column in columns] or [0] * len(COUNTERS)


def _totals(counters: Mapping[str, int]) -> Object:
    """Counters in groups; of causes only those that have happened."""
    return {
        "accepted": counters["accepted"], "up": counters["up"], "down": counters["down"],
        "commands": {name: counters[name] for name in COMMAND_NAMES},
        "logins": {name: counters[f"login_{name}"] for name in LOGIN_NAMES},
        "ends": {cause: counters[cause] for cause in layout.CAUSES if counters[cause]},
    }  # fmt: skip


def _full(times: int, nanoseconds: int) -> Object:
    """How often every thread was busy, and for how long in all."""
    return {"full": times, "full_seconds": nanoseconds / NS}
