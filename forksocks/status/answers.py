"""A request's answer: objects as JSON carries them, one after the other.

Times are seconds, sizes bytes; ages count from now. A verb that nobody knows and a filter that makes no sense
are a BadRequest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic_ns
from typing import Any

from forksocks.host.scoreboard import layout, reading
from forksocks.host.scoreboard.books import Seen
from forksocks.host.scoreboard.identity import identity
from forksocks.host.scoreboard.layout import COMMAND_NAMES, COUNTERS, LOGIN_NAMES
from forksocks.status.watch import Watch

NS = 1_000_000_000
Object = dict[str, Any]


class BadRequest(Exception):
    """What was asked cannot be answered; the text is one line for a person."""


def answer(request: object, watch: Watch) -> Iterator[Object]:
    """Answer one request. Raises BadRequest, and books.Unsettled."""
    if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
        raise BadRequest("a request is an object with a verb")
    filters = request.get("filters", {})
    if not isinstance(filters, dict) or not all(isinstance(value, str) for value in filters.values()):
        raise BadRequest("filters are texts by name")
    verb = VERBS.get(request["verb"])
    if verb is None:
        raise BadRequest(f"there is no verb {request['verb'][:40]!r}")
    known = FIELDS[request["verb"]]
    unknown = [name for name in filters if name not in known]
    if unknown:
        raise BadRequest(f"no filter {unknown[0][:40]!r}; there are {', '.join(known) or 'none'}")
    return _filtered(verb(watch, watch.see()), filters)


def status(watch: Watch, seen: Seen) -> Iterator[Object]:
    """The server in one object."""
    sums = [sum(column) for column in zip(*seen.totals.listeners.values(), strict=True)]
    counters = dict(zip(COUNTERS, sums or [0] * len(COUNTERS), strict=True))
    states: Counter[str] = Counter()
    for board in watch.boards.values():
        states.update(reading.states(board))
    facts = seen.facts
    yield {
        "version": facts.get("version"), "pid": facts.get("pid"), "state": facts.get("state"),
        "uptime": _age(facts.get("started_ns")), "generation": facts.get("generation"),
        "listeners": list(listeners(watch, seen)), "workers": list(workers(watch, seen)),
        "sessions": {"open": sum(states.values()), "states": dict(states)},
        "rates": watch.rates(),
        "totals": _totals(counters) | _full(*seen.totals.heads),
        "deaths": facts.get("deaths", {}), "outcomes": facts.get("outcomes", {}),
    }  # fmt: skip


def workers(watch: Watch, seen: Seen) -> Iterator[Object]:
    """The workers of all generations."""
    for process in seen.facts.get("processes", ()):
        board = watch.boards.get(process["key"])
        if process["role"] != "worker" or board is None:
            continue
        head = reading.head(board)
        counted = dict(zip(COUNTERS, _sum(seen, process["key"]), strict=True))
        yield {
            "worker": process["number"], "pid": process["pid"], "generation": process["generation"],
            "age": _age(process["born_ns"]), "silent": _age(head.heartbeat), "ready": process["ready"],
            "draining": process["ending"] or head.draining,
            "sessions": sum(reading.states(board).values()), "threads": head.threads,
            "cap": seen.facts.get("threads"), "waiting": head.waiting, "accepted": counted["accepted"],
            "up": counted["up"], "down": counted["down"],
            **_full(head.full_times, head.full_ns),
        }  # fmt: skip


def listeners(_watch: Watch, seen: Seen) -> Iterator[Object]:
    """The listeners that are served, and those of before that have counted something."""
    addresses: dict[str, list[str]] = {}
    for listener in seen.facts.get("listeners", ()):
        addresses.setdefault(listener["name"], []).append(listener["address"])
    for name in dict.fromkeys([*addresses, *seen.totals.listeners]):
        counters = seen.totals.listeners.get(name, [0] * len(COUNTERS))
        totals = _totals(dict(zip(COUNTERS, counters, strict=True)))
        elsewhere = reading.open_sessions(seen.before.listeners.get(name, [0] * len(COUNTERS)))
        opened = max(0, reading.open_sessions(counters) - elsewhere)
        yield {"listener": name, "addresses": addresses.get(name, []), "sessions": opened, **totals}


def tunnels(watch: Watch, seen: Seen) -> Iterator[Object]:
    """The sessions under way, from their accept on."""
    numbers = {process["key"]: process["number"] for process in seen.facts.get("processes", ())}
    for key, board in watch.boards.items():
        for tunnel in reading.tunnels(board):
            yield {
                "id": identity(numbers.get(key, 0), tunnel.number), "state": tunnel.state,
                "listen": tunnel.listener, "client": tunnel.client, "user": tunnel.user,
                "command": tunnel.command, "to": tunnel.asked, "addr": tunnel.reached,
                "age": _age(tunnel.started), "idle": _age(tunnel.active), "up": tunnel.up,
                "down": tunnel.down, "way": tunnel.way,
            }  # fmt: skip


# All that one answer says is from one look at the books.
VERBS: Mapping[str, Callable[[Watch, Seen], Iterator[Object]]] = {
    "status": status,
    "workers": workers,
    "listeners": listeners,
    "tunnels": tunnels,
}


# What can be asked for by value, of each verb's objects.
FIELDS: Mapping[str, Sequence[str]] = {
    "status": (),
    "workers": ("worker", "pid", "generation", "draining", "ready"),
    "listeners": ("listener",),
    "tunnels": (
        "id", "state", "listen", "client", "user", "command", "to", "addr", "way",
    ),
}  # fmt: skip


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


def _age(since_ns: object) -> float:
    """Seconds since a time of the monotonic clock; 0 for one that is still to come, or none."""
    return max(0, monotonic_ns() - since_ns) / NS if isinstance(since_ns, int) else 0.0


def _filtered(objects: Iterator[Object], filters: Mapping[str, str]) -> Iterator[Object]:
    """Those whose fields have the values asked for."""
    for each in objects:
        if all(_matches(str(each[name]), wanted) for name, wanted in filters.items()):
            yield each


def _matches(value: str, wanted: str) -> bool:
    """The whole value, or its beginning up to a port: `client=192.0.2.1` finds 192.0.2.1:5000."""
    return value == wanted or value.rpartition(":")[0] in (wanted, f"[{wanted}]")
