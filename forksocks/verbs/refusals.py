"""`forksocksctl refusals`: who was refused last, and why."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from forksocks.verbs import asking, show
from forksocks.verbs.tables import age, printable

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

COLUMNS: Sequence[show.Column] = (
    ("AGE", "age", age), ("CAUSE", "cause", printable), ("CLIENT", "client", printable),
    ("USER", "user", printable), ("TO", "to", printable), ("ADDR", "addr", printable),
    ("RULE", "rule", printable), ("FIRST BYTES", "first", printable), ("WHY", "hint", printable),
)  # fmt: skip
_EPILOG = """\
The newest come last: the last 64 of each worker, and 64 of those that ended.
filters: a field of --json and its value, as of show.
  forksocksctl refusals cause=denied from=192.0.2.0/24
exit status: 0 done, 1 refused, 2 wrong usage, 3 no server answers"""


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "refusals", help="list who was refused last by a running server, and why", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("filters", nargs="*", metavar="FIELD=VALUE")
    asking.add_options(made)
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Ask and print, the newest last; NoServer, Refused or WrongUsage if that cannot be."""
    found = list(asking.ask(arguments.socket, "refusals", show.filters(arguments.filters)))
    if arguments.json:
        sys.stdout.write("".join(json.dumps(each) + "\n" for each in found))
    else:
        sys.stdout.write(show.in_columns(COLUMNS, found))
