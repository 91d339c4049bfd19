"""`forksocksctl dump`: all that a running server tells, in one text for a bug report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forksocks import banner
from forksocks.verbs import asking
from forksocks.verbs.anonymous import Anonymous
from forksocks.verbs.verb import Refused

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

KINDS = (
    "status", "settings", "causes", "rules", "limits", "bans", "users", "clients", "tunnels", "refusals",
)  # fmt: skip
UNTOLD = "helper.command"  # whose arguments may hold a password
_EPILOG = """\
  forksocksctl dump --anon >report.txt
exit status: 0 done, 1 refused, 2 wrong usage, 3 no server answers"""


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "dump", help="all that a running server tells, for a bug report", epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument("--anon", action="store_true", help="with hashes for names, addresses and paths")
    asking.add_options(made)
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Ask for everything and print it, a heading for each kind, an object a line; NoServer."""
    anonymous = Anonymous() if arguments.anon else None
    if not arguments.json:
        sys.stdout.write("".join(f"# {line}\n" for line in banner.version().splitlines()))
    for kind in KINDS:
        if not arguments.json:
            sys.stdout.write(f"\n## {kind}\n")
        for found in told(arguments.socket, kind, anonymous):
            shown = {"kind": kind, **found} if arguments.json else found
            sys.stdout.write(json.dumps(shown) + "\n")


def told(path: Path, kind: str, anonymous: Anonymous | None) -> Iterator[dict[str, Any]]:
    """The objects of one kind; of what we may not ask for, why."""
    try:
        for found in asking.ask(path, kind):
            if kind == "settings":
                if found.get("key") == UNTOLD:
                    continue
                yield found if anonymous is None else anonymous.setting(found)
            else:
                yield found if anonymous is None else anonymous.object(found)
    except Refused as error:
        yield {"refused": anonymous.word(str(error)) if anonymous else str(error)}
