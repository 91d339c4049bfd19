"""`forksocksctl show`: what a running server has of one kind, a line each; and one tunnel in every detail."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from forksocks.verbs import asking
from forksocks.verbs.tables import age, printable, size, table
from forksocks.verbs.verb import WrongUsage

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

_EPILOG = """\
filters: a field of --json and its value: of an address the host is enough, or
a network that it is in; of a name a pattern with *. Of tunnels also rule=NAME,
from=CLIENT, older=TIME since the start, idler=TIME since the last byte.
  forksocksctl show tunnels user=alice older=1h
  forksocksctl show tunnels from=192.0.2.0/24 to=*.example.com
  forksocksctl show tunnel w1-69255e41-7f
exit status: 0 done, 1 refused, 2 wrong usage, 3 no server answers"""

LONGEST = 100  # characters of what may be long
# The one kind that is no list.
ONE = "tunnel"

# A column: its title, the field that it shows, and how.
Column = tuple[str, str, Callable[[Any], str]]


def _all(values: Sequence[str]) -> str:
    return printable(" ".join(values))


COLUMNS: dict[str, Sequence[Column]] = {
    "workers": (
        ("WORKER", "worker", str), ("PID", "pid", str), ("GEN", "generation", str), ("AGE", "age", age),
        ("SESSIONS", "sessions", str), ("THREADS", "threads", str), ("CAP", "cap", str),
        ("ACCEPTED", "accepted", str), ("UP", "up", size), ("DOWN", "down", size), ("FULL", "full", str),
        ("STATE", "draining", lambda draining: "draining" if draining else "serving"),
    ),
    "listeners": (
        ("LISTENER", "listener", printable), ("SESSIONS", "sessions", str), ("ACCEPTED", "accepted", str),
        ("UP", "up", size), ("DOWN", "down", size), ("ADDRESSES", "addresses", _all),
    ),
    "tunnels": (
        ("ID", "id", printable), ("USER", "user", printable), ("CLIENT", "client", printable),
        ("TO", "to", printable), ("ADDR", "addr", printable), ("AGE", "age", age), ("IDLE", "idle", age),
        ("UP", "up", size), ("DOWN", "down", size), ("STATE", "state", printable), ("WAY", "way", printable),
    ),
}  # fmt: skip


def _left(seconds: float | None) -> str:
    return "-" if seconds is None else age(seconds)


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


def _short(text: object) -> str:
    """Conditions of a rule; a list of them may be as long as a file."""
    shown = printable(text)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."


_GROUP: Sequence[Column] = (
    ("TUNNELS", "sessions", str), ("UP", "up", size), ("DOWN", "down", size), ("OLDEST", "age", age),
)  # fmt: skip
COLUMNS |= {
    "users": (("USER", "user", printable), *_GROUP),
    "clients": (("CLIENT", "client", printable), *_GROUP),
    "bans": (
        ("NETWORK", "network", printable),
        ("USER", "user", printable),
        ("BY", "by", printable),
        ("FAILURES", "failures", str),
        ("BANS", "bans", str),
        ("LEFT", "seconds", _left),
    ),
    "rules": (
        ("RULE", "rule", printable),
        ("ACTION", "action", printable),
        ("HITS", "hits", str),
        ("LAST", "last", _left),
        ("WHEN", "when", _short),
    ),
    "limits": (
        ("LIMIT", "limit", printable),
        ("PER", "per", printable),
        ("CONNECTIONS", "connections", _number),
        ("UDP", "associations", _number),
        ("NEW", "new", lambda new: printable(new or "")),
        ("MOST NOW", "most", str),
        ("WHO", "who", printable),
        ("RULES", "rules", _all),
    ),
    "causes": (
        ("CAUSE", "cause", printable),
        ("TUNNELS", "sessions", str),
        ("MEANING", "meaning", printable),
    ),
}
NUMBERS = frozenset(
    (
        "WORKER",
        "PID",
        "GEN",
        "AGE",
        "IDLE",
        "SESSIONS",
        "THREADS",
        "CAP",
        "ACCEPTED",
        "UP",
        "DOWN",
        "FULL",
        "TUNNELS",
        "OLDEST",
        "FAILURES",
        "BANS",
        "LEFT",
        "HITS",
        "LAST",
        "CONNECTIONS",
        "UDP",
        "MOST NOW",
    )
)


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "show", help="list tunnels, users, workers and more of a running server", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    kinds = sorted([*COLUMNS, ONE])
    made.add_argument("what", choices=kinds, metavar="|".join(kinds))
    made.add_argument("filters", nargs="*", metavar="FIELD=VALUE|ID")
    asking.add_options(made)
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Ask and print; NoServer, Refused or WrongUsage if that cannot be."""
    has_id = arguments.what == ONE
    found = asking.ask(arguments.socket, arguments.what, filters(arguments.filters, has_id))
    if arguments.json:
        for each in found:
            sys.stdout.write(json.dumps(each) + "\n")
    elif has_id:
        sys.stdout.write("".join(map(as_lines, found)))
    else:
        sys.stdout.write(as_table(arguments.what, list(found)))


def as_table(what: str, objects: Sequence[Mapping[str, Any]]) -> str:
    """The table of one kind of objects."""
    return in_columns(COLUMNS[what], objects)


def in_columns(columns: Sequence[Column], objects: Sequence[Mapping[str, Any]]) -> str:
    """The table with these columns."""
    rows = [[show(each[field]) for _, field, show in columns] for each in objects]
    return table([title for title, _, _ in columns], rows, NUMBERS)


def as_lines(tunnel: Mapping[str, Any]) -> str:
    """One tunnel, what is known of it a line each, its connections at the end."""
    lines = {
        "tunnel": f"{tunnel['id']}, {tunnel['state']}, {tunnel['command'] or '-'}, {tunnel['way']}",
        "client": f"{tunnel['client']}, user {tunnel['user'] or '-'}, listener {tunnel['listen']}, "
        f"SOCKS{tunnel['socks']}",
        "to": f"{tunnel['to'] or '-'}, address {tunnel['addr'] or '-'}, rule {tunnel['rule'] or '-'}",
        "bytes": f"up {size(tunnel['up'])}, down {size(tunnel['down'])}",
        "time": f"{age(tunnel['age'])}, idle {age(tunnel['idle'])}",
    }
    legs = {f"{name} side": _leg(leg) for name, leg in tunnel["legs"].items()}
    return "".join(f"{name:<12} {printable(text)}\n" for name, text in (lines | legs).items())


def _leg(leg: Mapping[str, Any]) -> str:
    """A connection as ss(8) has it, in words."""
    ends = f"{leg['local'] or '-'} to {leg['peer'] or '-'}"
    tcp = leg["tcp"]
    if not tcp:
        return ends
    return (
        f"{ends}: {tcp['state']}, round trip {tcp['rtt'] * 1000:.3g} ms +- {tcp['rtt_variance'] * 1000:.3g}, "
        f"window {tcp['congestion_window']} x {tcp['segment']} B, {tcp['unacknowledged']} unacknowledged, "
        f"{tcp['retransmitted']} retransmitted, {size(tcp['unsent'])} unsent, "
        f"delivers {size(tcp['delivery_rate'])}/s"
    )


def filters(words: Sequence[str], has_id: bool = False) -> dict[str, str]:
    """FIELD=VALUE words as the server takes them; has_id: one word may be an id. Raises WrongUsage."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if has_id and not equals and name:
            name, value = "id", name
        elif not (name and equals):
            raise WrongUsage(f"a filter is FIELD=VALUE, not {printable(word)}")
        if name in found:
            raise WrongUsage(f"{printable(name)} is there twice")
        found[name] = value
    return found
