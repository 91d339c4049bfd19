"""`forksocksctl bans`: who may not log in to a running server now; ban and lift; take the list away."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from forksocks.access.lockout import read_until
from forksocks.access.users import decoded_name, encoded_name
from forksocks.config import values
from forksocks.config.values import Wrong, readable
from forksocks.verbs import asking, show
from forksocks.verbs.verb import Refused, WrongUsage

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

_DESCRIPTION = """\
List who may not log in now: who has guessed passwords ([auth] lockout), and who
was banned by hand. A ban is of logins: it ends no tunnel (forksocksctl end), and
does not hold where no password is asked for (which is a matter of rules).
"""
_EPILOG = """\
  forksocksctl bans
  forksocksctl bans --add 192.0.2.0/24 mallory --for 12h
  forksocksctl bans --remove 192.0.2.7
  forksocksctl bans --export > bans; forksocksctl bans --add - < bans
exit status: 0 done, 1 refused or nothing to lift, 2 wrong usage, 3 no server"""

STDIN = "-"
WHO = "a network, a user, or to tell them apart network=NETWORK or user=NAME"
LARGEST = 4 << 20  # characters of a list
# What nobody means as a user's name: an address mistyped, with a port or a zone.
LIKE_AN_ADDRESS = re.compile(r"[0-9.]+|.*[:%].*")


@dataclass(frozen=True, slots=True)
class Who:
    """A network or a user as the server is told. until: seconds since 1970, None: for good."""

    about: dict[str, str]
    until: float | None = None


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "bans", help="list who may not log in; ban, and lift", description=_DESCRIPTION, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    what = made.add_mutually_exclusive_group()
    what.add_argument("--add", nargs="+", metavar="NETWORK|USER", help="ban these; -: as --export has them")
    what.add_argument("--remove", nargs="+", metavar="NETWORK|USER", help="lift their bans; -: the same")
    what.add_argument("--export", action="store_true", help="print a line each, for --add -")
    made.add_argument("--for", dest="time", metavar="TIME", help="how long; default: until it is lifted")
    asking.add_options(made)
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """List, ban or lift; NoServer, Refused or WrongUsage if that cannot be."""
    until = _until(arguments)
    done: list[dict[str, Any]] = []
    if arguments.add:
        verb = "banned"
        for who in list(_wanted(arguments.add, until)):
            if who.until is None or who.until > time.time():
                its = {} if who.until is None else {"until": repr(who.until)}
                done += asking.ask(arguments.socket, "ban", who.about | its)
    elif arguments.remove:
        verb = "lifted"
        for who in list(_wanted(arguments.remove, until)):
            done += asking.ask(arguments.socket, "unban", who.about)
        if not done:
            raise Refused("none of them is banned; `forksocksctl bans` lists who is")
    else:
        _list(arguments)
        return
    if arguments.json:
        _print_json(done)
        return
    sys.stdout.write(f"{verb} {len(done)}\n")
    if done:
        sys.stdout.write(show.as_table("bans", done))


def _list(arguments: argparse.Namespace) -> None:
    found = asking.ask(arguments.socket, "bans")
    if arguments.export:
        _export(found, arguments.json)
    elif arguments.json:
        _print_json(found)
    else:
        sys.stdout.write(show.as_table("bans", list(found)))


def _export(bans: Iterator[dict[str, Any]], as_json: bool) -> None:
    """A line each; who is only held up for seconds (a user in one network) is none to be kept."""
    kept = (each for each in bans if not (each["network"] and each["user"]) and each["network"] != "unix")
    if as_json:
        _print_json(kept)
        return
    for each in kept:
        who = f"network={each['network']}" if each["network"] else f"user={each['user']}"
        until = "" if each["until"] is None else f" until={_written_time(each['until'])}"
        sys.stdout.write(f"{who}{until}\n")


def _print_json(objects: Iterator[dict[str, Any]] | Sequence[dict[str, Any]]) -> None:
    for each in objects:
        sys.stdout.write(json.dumps(each) + "\n")


def _written_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _until(arguments: argparse.Namespace) -> float | None:
    if arguments.time is None:
        return None
    if not arguments.add:
        raise WrongUsage("--for goes with --add")
    try:
        return time.time() + values.duration(arguments.time)
    except Wrong as error:
        raise WrongUsage(f"--for {error}") from None


def _wanted(words: Sequence[str], until: float | None) -> Iterator[Who]:
    """All who are meant, before anything is asked for. Raises WrongUsage."""
    for word in words:
        if word != STDIN:
            yield Who(_about(word), until)
            continue
        for number, line in enumerate(_standard_input().splitlines(), 1):
            try:
                yield from _line(line.strip(), until)
            except WrongUsage as error:
                raise WrongUsage(f"line {number}: {error}") from None


def _standard_input() -> str:
    text = sys.stdin.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise WrongUsage(f"the list is longer than {LARGEST >> 20} MiB; nothing was done")
    return text


def _line(line: str, until: float | None) -> Iterator[Who]:
    """One line of a list, as --export has it with or without --json; "#" begins a comment."""
    if line.startswith("{"):
        yield _object(line, until)
        return
    words = line.partition("#")[0].split()
    for word in words[1:]:
        until = _read_time(word)
    if words:
        yield Who(_about(words[0]), until)


def _object(line: str, until: float | None) -> Who:
    try:
        found = json.loads(line)
        its = found.get("until")
        who = f"network={found['network']}" if found.get("network") else f"user={found['user']}"
        return Who(_about(who), until if its is None else read_until(its))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise WrongUsage("an object of JSON has network or user, and may have until") from None


def _read_time(word: str) -> float:
    name, _, text = word.partition("=")
    try:
        if name == "until":
            return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        pass
    raise WrongUsage(f"after whom it is about comes until=2026-01-31T12:00:00Z, not {readable(word)}")


def _about(word: str) -> dict[str, str]:
    """The network or the user that a word means. Raises WrongUsage."""
    kind, equals, text = word.partition("=")
    if not equals or kind not in ("network", "user"):
        kind, text = "", word
    if kind != "user":
        try:
            return {"network": str(values.network(text, WHO))}
        except Wrong as error:
            if kind == "network" or "/" in text:
                raise WrongUsage(str(error)) from None
    if not kind and (LIKE_AN_ADDRESS.fullmatch(text) or not text.isprintable()):
        what = f"{readable(word)} is no network"
        raise WrongUsage(f"{what}; for a user of that name say user={readable(text)}")
    name = decoded_name(os.fsencode(text)) or os.fsencode(text)
    if not 0 < len(name) <= 255:
        raise WrongUsage(f"{readable(word)} is no user's name: it has 1 to 255 bytes")
    return {"user": encoded_name(name)}
