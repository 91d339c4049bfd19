"""`forksocksctl recheck`: the tunnels of a running server that its rules would refuse by now; end them."""

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
    ("ID", "id", printable), ("USER", "user", printable), ("CLIENT", "client", printable),
    ("TO", "to", printable), ("ADDR", "addr", printable), ("AGE", "age", age), ("NOW", "now", printable),
)  # fmt: skip
_DESCRIPTION = """\
A tunnel goes on by what was decided when it began. This asks again: who would be
refused by the configuration that is served by now, and why.
"""
_EPILOG = """\
  forksocksctl reload --sessions recheck
exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers"""


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "recheck", help="list tunnels that today's rules would refuse, or end them", epilog=_EPILOG,
        description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("--close", action="store_true", help="end them: both sides get a reset")
    asking.add_options(made)
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Ask and print; NoServer or Refused if that cannot be."""
    verb = "recheck-end" if arguments.close else "recheck"
    found = list(asking.ask(arguments.socket, verb))
    if arguments.json:
        sys.stdout.write("".join(json.dumps(each) + "\n" for each in found))
        return
    if arguments.close:
        sys.stdout.write(f"ended {len(found)}\n")
    if found or not arguments.close:
        sys.stdout.write(show.in_columns(COLUMNS, found))
