"""`forksocksctl show`: the workers, listeners and tunnels of a running server, a line each."""

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
filters: a field of --json and its value; of an address the host is enough
  forksocksctl show tunnels user=alice
  forksocksctl show tunnels client=192.0.2.1 state=tunnel
exit status: 0 done, 1 refused, 2 wrong usage, 3 no server answers"""

# A column: its title, the field that it shows, and how.
Column = tuple[str, str, Callable[[Any], str]]


def _all(values: Sequence[str]) -> str:
    return printable(" ".join(values))


COLUMNS: Mapping[str, Sequence[Column]] = {
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
NUMBERS = frozenset(
    ("WORKER", "PID", "GEN", "AGE", "IDLE", "SESSIONS", "THREADS", "CAP", "ACCEPTED", "UP", "DOWN", "FULL")
)


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "show", help="list workers, listeners or tunnels of a running server", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("what", choices=sorted(COLUMNS), metavar="|".join(sorted(COLUMNS)))
    made.add_argument("filters", nargs="*", metavar="FIELD=VALUE")
    asking.add_options(made)
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Ask and print; NoServer, Refused or WrongUsage if that cannot be."""
    found = asking.ask(arguments.socket, arguments.what, _filters(arguments.filters))
    if arguments.json:
        for each in found:
            sys.stdout.write(json.dumps(each) + "\n")
    else:
        sys.stdout.write(as_table(arguments.what, list(found)))


def as_table(what: str, objects: Sequence[Mapping[str, Any]]) -> str:
    """The table of one kind of objects."""
    columns = COLUMNS[what]
    rows = [[show(each[field]) for _, field, show in columns] for each in objects]
    return table([title for title, _, _ in columns], rows, NUMBERS)


def _filters(words: Sequence[str]) -> dict[str, str]:
    pairs = [word.partition("=") for word in words]
    wrong = [name for name, equals, _ in pairs if not (name and equals)]
    if wrong:
        raise WrongUsage(f"a filter is FIELD=VALUE, not {printable(wrong[0])}")
    return {name: value for name, _, value in pairs}
