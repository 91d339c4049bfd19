"""`forksocksctl end`: end tunnels of a running server, by id or by filters."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from forksocks.verbs import asking, show
from forksocks.verbs.verb import Refused, WrongUsage

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

_EPILOG = """\
  forksocksctl end w1-69255e41-7f
  forksocksctl end user=alice older=1d
  forksocksctl end from=192.0.2.0/24
exit status: 0 done, 1 refused or nothing to end, 2 wrong usage, 3 no server"""


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "end", help="end tunnels of a running server", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Both ends of each get a reset, and the log has the cause ended-by-admin.",
    )  # fmt: skip
    made.add_argument("which", nargs="+", metavar="ID|FIELD=VALUE", help="as of show tunnels")
    asking.add_options(made)
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """End them, and list what they were; NoServer, Refused or WrongUsage if that cannot be."""
    wanted = show.filters(arguments.which, has_id=True)
    if not all(wanted.values()):  # a variable of a script that was not set must not end what it does not name
        raise WrongUsage("a filter of end needs a value")
    ended = list(asking.ask(arguments.socket, "end", wanted))
    if not ended:
        raise Refused("no tunnel fits; `forksocksctl show tunnels` lists what there is")
    if arguments.json:
        sys.stdout.write("".join(json.dumps(each) + "\n" for each in ended))
        return
    how_many = "1 tunnel" if len(ended) == 1 else f"{len(ended)} tunnels"
    sys.stdout.write(f"ended {how_many}\n{show.as_table('tunnels', ended)}")
