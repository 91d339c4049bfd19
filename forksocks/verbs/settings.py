"""`forksocksctl check`, `config` and `diff`: a configuration file, and what a server serves by."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from forksocks import preflight
from forksocks.config import flat
from forksocks.config.load import ConfigError, Loaded, load
from forksocks.config.problems import DEFAULT, Problem
from forksocks.host.terminal import printable
from forksocks.verbs import asking
from forksocks.verbs.tables import table
from forksocks.verbs.verb import DONE, REFUSED, WrongUsage

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

DEFAULT_FILE = Path("/etc/forksocks/forksocks.toml")


def register(verbs: Verbs) -> None:
    """Add the three verbs to the command line."""
    check = verbs.add_parser(
        "check", help="say whether a configuration could serve here",
        epilog="exit status: 0 it could, 1 it could not, 2 wrong usage",
    )  # fmt: skip
    check.set_defaults(run=run_check)
    config = verbs.add_parser(
        "config", help="list the settings of a file and where each was set",
        epilog="exit status: 0 done, 2 wrong usage or configuration",
    )  # fmt: skip
    which = config.add_mutually_exclusive_group()
    which.add_argument("--changed", action="store_true", help="those that are not the default (the default)")
    which.add_argument("--all", action="store_true", help="all of them")
    config.set_defaults(run=run_config)
    diff = verbs.add_parser(
        "diff", help="compare a file with what a running server serves by",
        epilog="exit status: 0 no difference, 1 some, or refused, 2 wrong usage, 3 no server",
    )  # fmt: skip
    diff.set_defaults(run=run_diff)
    for made in (check, config, diff):
        made.add_argument(
            "-c", "--config", metavar="FILE", type=Path, default=DEFAULT_FILE, help=f"({DEFAULT_FILE})"
        )
    asking.add_options(diff)
    for made in (check, config):
        made.add_argument("--json", action="store_true", help="print JSON, one object a line")


def run_check(arguments: argparse.Namespace) -> int:
    """Print all that is wrong, and what is hardly meant; REFUSED where something is wrong."""
    warnings: tuple[Problem, ...] = ()
    try:
        loaded = load(arguments.config, {}, may_wait=True)
        asked = preflight.Preflight(loaded, thorough=True)
        problems, warnings = asked.problems, asked.warnings
    except ConfigError as error:
        problems = error.problems
    if arguments.json:
        for kind, found in (("error", problems), ("warning", warnings)):
            for each in found:
                where = {"where": each.where.name, "line": each.where.line, "key": each.key}
                _print_json({"kind": kind, **where, "text": each.text})
    else:
        for each in (*problems, *warnings):
            sys.stdout.write(printable(str(each)) + "\n")
        if not problems:
            sys.stdout.write(f"{printable(str(arguments.config))}: ok\n")
    return REFUSED if problems else DONE


def run_config(arguments: argparse.Namespace) -> None:
    """Print key, value and origin of each setting. Raises WrongUsage for a file that cannot be used."""
    loaded = _loaded(arguments.config)
    shown = flat.flat(loaded.config)
    rows = [(key, shown[key], str(origin)) for key, origin in _origins(loaded) if key in shown]
    if not arguments.all:
        rows = [row for row in rows if row[2] != str(DEFAULT)]
    if arguments.json:
        for key, value, where in rows:
            _print_json({"key": key, "value": value, "where": where})
    else:
        _print_table(("KEY", "VALUE", "WHERE"), rows)


def run_diff(arguments: argparse.Namespace) -> int:
    """Print the settings in which the file differs from what the server serves by; REFUSED if any does."""
    file = flat.flat(_loaded(arguments.config).config)
    running = {str(each["key"]): str(each["value"]) for each in asking.ask(arguments.socket, "settings")}
    rows = list(flat.differences(running, file))
    if arguments.json:
        for key, before, after in rows:
            _print_json({"key": key, "running": before, "file": after})
    elif rows:
        _print_table(("KEY", "RUNNING", "FILE"), rows)
    else:
        sys.stdout.write("no difference\n")
    return REFUSED if rows else DONE


def _loaded(path: Path) -> Loaded:
    try:
        return load(path, {}, may_wait=True)
    except ConfigError as error:
        raise WrongUsage(str(error)) from None


def _origins(loaded: Loaded) -> list[tuple[str, object]]:
    """Each key as `flat` calls it, and where it was set."""
    config = loaded.config
    found: list[tuple[str, object]] = []
    for dotted, origin in loaded.origins.items():
        section, _, rest = dotted.partition(".")
        number, _, key = rest.partition(".")
        rows = getattr(config, section, ())
        if number.isdecimal() and int(number) < len(rows):
            name = getattr(rows[int(number)], "name", "") or int(number) + 1
            dotted = f"{section}.{name}.{key}"
        found.append((dotted, origin))
    return found


def _print_table(header: tuple[str, ...], rows: list[tuple[str, str, str]]) -> None:
    sys.stdout.write(table(header, [[printable(text) for text in row] for row in rows]))


def _print_json(found: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
