"""The sessions under way: all, one in every detail, by user and by client, and their end.

What the scoreboard does not say (the rule, and how the two connections are doing) is asked of the worker that
carries the session, and only for those that are asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from forksocks.host.scoreboard import reading
from forksocks.host.scoreboard.identity import identity
from forksocks.status.frame import BadRequest, Object, Server, age, filtered

FIELDS: Sequence[str] = (
    "id", "state", "listen", "client", "user", "command", "to", "addr", "way", "rule", "older", "idler",
)  # fmt: skip
# What a user or a client has is counted over these.
SUMS = ("up", "down")


def tunnels(server: Server) -> Iterator[Object]:
    """The sessions under way, from their accept on, that fit the filters."""
    for _, each in fitting(server):
        yield each


def tunnel(server: Server) -> Iterator[Object]:
    """One session, by its id, with its rule and both its connections."""
    name = server.filters.get("id")
    if name is None:
        raise BadRequest("which tunnel? It takes an id, as `show tunnels` shows them")
    for key, each in fitting(server):
        answer = server.lines.ask(key, "look", [name])
        if answer is None:
            raise BadRequest(f"the worker that carries {name} does not answer")
        if isinstance(answer.get(name), dict):
            yield answer[name] | each
            return
    raise BadRequest(f"there is no tunnel {name[:64]!r}; it may have ended")


def end(server: Server) -> Iterator[Object]:
    """End the sessions that fit the filters, of which there must be one; yields each as it was."""
    if not server.filters:
        raise BadRequest("end which tunnels? It takes an id or filters, as in user=alice")
    by_worker: dict[int, dict[str, Object]] = {}
    for key, each in fitting(server):
        by_worker.setdefault(key, {})[each["id"]] = each
    yield from end_all(server, by_worker)


def end_all(server: Server, by_worker: Mapping[int, Mapping[str, Object]]) -> Iterator[Object]:
    """End these sessions of workers, by their ids; yields each that was still there."""
    ended = unknown = 0
    for key, wanted in by_worker.items():
        answer = server.lines.ask(key, "end", list(wanted))
        said = None if answer is None else answer.get("ended")
        if not isinstance(said, list):
            unknown += len(wanted)
            continue
        for name in said:
            if isinstance(name, str) and name in wanted:
                ended += 1
                yield wanted[name]
    if unknown:
        raise BadRequest(f"ended {ended}; {unknown} others may go on: their worker does not answer")


def users(server: Server) -> Iterator[Object]:
    """Who has sessions under way, the most bytes first; "" for those without a name."""
    yield from filtered(_by("user", every(server)), server.filters)


def clients(server: Server) -> Iterator[Object]:
    """From which addresses there are sessions under way, the most bytes first."""
    yield from filtered(_by("client", every(server)), server.filters)


def _by(field: str, found: Iterator[tuple[int, Object]]) -> Iterator[Object]:
    groups: dict[str, Object] = {}
    for _, each in found:
        name = each[field]
        if field == "client" and ":" in name:  # without its port
            name = name.rpartition(":")[0].strip("[]")
        group = groups.setdefault(name, {field: name, "sessions": 0, "up": 0, "down": 0, "age": 0.0})
        group["sessions"] += 1
        group["age"] = max(group["age"], each["age"])
        for each_sum in SUMS:
            group[each_sum] += each[each_sum]
    yield from sorted(groups.values(), key=lambda group: -(group["up"] + group["down"]))


def fitting(server: Server) -> Iterator[tuple[int, Object]]:
    """The sessions that fit, each with the key of its worker; rules are asked for where a filter has one."""
    filters = dict(server.filters)
    rule = filters.pop("rule", None)
    keys: dict[str, int] = {}

    def noted() -> Iterator[Object]:
        for key, each in every(server):
            keys[each["id"]] = key
            yield each

    found = list(filtered(noted(), filters))
    if rule is not None:
        rules = _rules(server, [(keys[each["id"]], each["id"]) for each in found])
        known = [each | {"rule": rules[each["id"]]} for each in found if each["id"] in rules]
        found = list(filtered(iter(known), {"rule": rule}))
    for each in found:
        yield keys[each["id"]], each


def _rules(server: Server, ids: Sequence[tuple[int, str]]) -> dict[str, str]:
    """The rules of sessions, by id; of a worker that does not answer none is known."""
    found: dict[str, str] = {}
    for key in {key for key, _ in ids}:
        answer = server.lines.ask(key, "rules", [name for of, name in ids if of == key])
        found |= {name: str(rule) for name, rule in (answer or {}).items()}
    return found


def every(server: Server) -> Iterator[tuple[int, Object]]:
    """All sessions under way, each with the key of its worker."""
    numbers = workers(server)
    for key, board in server.watch.boards.items():
        for each in reading.tunnels(board):
            yield key, as_object(numbers.get(key, 0), each)


def workers(server: Server) -> dict[int, int]:
    """The number of each worker, by its key."""
    return {process["key"]: process["number"] for process in server.seen.facts.get("processes", ())}


def as_object(worker: int, found: reading.Tunnel) -> Object:
    """A session of the worker with this number, as it is told."""
    return {
        "id": identity(worker, found.number), "state": found.state,
        "listen": found.listener, "client": found.client, "user": found.user,
        "command": found.command, "to": found.asked, "addr": found.reached,
        "age": age(found.started), "idle": age(found.active), "up": found.up,
        "down": found.down, "way": found.way,
    }  # fmt: skip


def with_rules(server: Server) -> Iterator[tuple[int, Object]]:
    """All sessions under way, each with the rule that allowed it; "" where none is known."""
    found = list(every(server))
    known = _rules(server, [(key, each["id"]) for key, each in found])
    for key, each in found:
        yield key, each | {"rule": known.get(each["id"], "")}
