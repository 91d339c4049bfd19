"""`forksocksctl top`: the tunnels of a running server, live on a full screen.

feed asks the server, model says what is looked at, picture makes lines of both, screen shows them by curses.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING

from forksocks.verbs import asking, show
from forksocks.verbs.top.feed import EVERY
from forksocks.verbs.top.model import ORDERS
from forksocks.verbs.verb import Refused, WrongUsage

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

_EPILOG = """\
keys: arrows and page keys move, s and S choose the order, r reverses it, / filters
(a word, or as of show tunnels: user=alice older=1h), k ends the tunnel that is
selected, f freezes, t w l u c show tunnels, workers, listeners, users and
clients, q leaves.
exit status: 0 done, 1 refused, 2 wrong usage, 3 no server answers"""


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "top", help="watch the tunnels of a running server", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("filters", nargs="*", metavar="FIELD=VALUE", help="as of show tunnels")
    made.add_argument("--sort", choices=ORDERS, default=ORDERS[0], help="the order to begin with")
    made.add_argument("--no-color", action="store_true", help="without colours, as NO_COLOR has it too")
    asking.add_options(made)
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Show them until the user leaves; NoServer, Refused or WrongUsage if that cannot be."""
    wanted = show.filters(arguments.filters)
    if set(wanted) & {"sort", "skip", "first", "text"}:
        raise WrongUsage("a filter is a field of show tunnels; the order is --sort")
    if arguments.json:
        _once(arguments, wanted)
        return
    try:
        from forksocks.verbs.top import screen
    except ImportError as error:
        raise Refused(f"this Python has no curses ({error.name}); --json does without") from None
    for name in ("LINES", "COLUMNS"):  # curses would take these for the size, whatever the terminal becomes
        os.environ.pop(name, None)
    colours = not (arguments.no_color or os.environ.get("NO_COLOR"))  # https://no-color.org
    screen.run(arguments.socket, arguments.sort, wanted, colours)


def _once(arguments: argparse.Namespace, wanted: dict[str, str]) -> None:
    """One page in JSON, with the rates of the second before it."""
    filters = {**wanted, "sort": arguments.sort, "first": "200"}
    list(asking.ask(arguments.socket, "top", filters | {"first": "0"}))
    time.sleep(EVERY)
    _, *tunnels = asking.ask(arguments.socket, "top", filters)
    sys.stdout.write("".join(json.dumps(each) + "\n" for each in tunnels))
