"""The server's options: their names, the help text, and which key of the configuration each one sets.

argparse takes the words apart; what they are worth `config.load` decides, so that a mistake reads the same
in the file and on the command line.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from forksocks.config.load import Flag
from forksocks.config.near import nearest
from forksocks.config.values import shown

USAGE = "forksocks [options] [ADDRESS:PORT ...]"
# With the options one screen of 24 lines; forksocks(8) says more.
HELP = """\
usage: forksocks [options] [ADDRESS:PORT | :PORT | unix:/PATH ...]
A SOCKS server; without an address on 127.0.0.1:1080. The manual: forksocks(8).
{options}
examples: forksocks :1080     for this machine and its private networks
          forksocks --users FILE :1080  (forksocksctl passwd FILE NAME)
"""

# Option, metavar (None: it takes no value), the key that it sets, help.
Row = tuple[str, str | None, str, str]
ROWS: Sequence[Row] = (
    ("--workers", "N|auto", "server.workers", "processes (auto: twice the cores)"),
    ("--threads", "N", "server.threads", "most connections of each worker (1024)"),
    ("--users", "FILE", "auth.users", "ask for names and passwords from FILE"),
    ("--allow-from", "NET,...", "access.allow_from", "serve only these networks or @sets"),
    ("--allow-to", "NET,...", "access.allow_to", "let these private networks or @sets be reached"),
    ("--open-proxy", None, "access.open_proxy", "serve anyone, without a password"),
    ("--user", "NAME", "server.user", "become NAME after binding"),
    ("--relay", "KIND", "server.relay", "auto, splice or copy"),
    ("--sandbox", "MODE", "server.sandbox", "auto, require (all layers or no start) or off"),
    ("--drain", "TIME", "server.drain", "how long tunnels may end when stopped (5m)"),
    ("--log-format", "FORMAT", "log.format", "text or json"),
    ("--daemon", None, "server.daemon", "leave the terminal (not needed under systemd)"),
    ("--pidfile", "FILE", "server.pidfile", "write the process number to FILE"),
)

# How other servers are told where to listen.
ELSEWHERE = frozenset({"-p", "--port", "-i", "-l", "--listen", "-b", "--bind", "--host", "--address"})

LEVELS = {"-v": "info", "-vv": "debug", "-vvv": "trace", "-q": "error"}
# What other programs call them, which is near no option of ours.
OURS = {"--verbose": "-v", "--debug": "-vv", "--quiet": "-q", "--silent": "-q"}

# What argparse says, and what a user would want to know.
CURES = (
    (re.compile(r"argument (?:-\w/)?(\S+): ignored explicit argument .*"), r"\1 takes no value"),
    (re.compile(r"argument (?:-\w/)?(\S+): expected one argument"), r"\1 needs a value"),
)


class UsageError(Exception):
    """A command line that argparse or we cannot understand."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        for said, cure in CURES:
            message = said.sub(cure, message)
        raise UsageError(message)


def parser() -> argparse.ArgumentParser:
    """The parser; all values stay texts."""
    made = _Parser(prog="forksocks", usage=USAGE, allow_abbrev=False, add_help=False)
    made.add_argument("addresses", nargs="*")
    add = made.add_argument
    add("-c", "--config", type=_file)
    for name, metavar, key, _ in ROWS:
        if metavar is None:
            add(name, dest=key, action="store_true")
        else:
            add(name, dest=key, action="append" if metavar.endswith("...") else "store")
    add("-v", dest="verbose", action="count", default=0)
    add("-q", dest="quiet", action="store_true")
    for name in ("--check", "--show-config", "--version"):
        add(name, action="store_true")
    add("-h", "--help", action="store_true")
    return made


def _file(text: str) -> Path:
    if not text:  # of which Path would make the current directory
        raise UsageError("--config needs the name of a file")
    return Path(text)


def help_text() -> str:
    """`--help`, one screen."""
    rows = [("-c, --config FILE", "read FILE (TOML); options override it")]
    rows += [(f"{name} {metavar or ''}", text) for name, metavar, _, text in ROWS]
    rows += [
        ("-v, -vv, -vvv, -q", "log sessions, steps, decisions; -q: errors, no greeting"),
        ("--check", "say what is wrong with the configuration, and exit"),
        ("--show-config", "print the configuration in effect, and its origins"),
        ("--version", "print versions and what this machine offers"),
        ("-h, --help", "print this"),
    ]
    return HELP.format(options="\n".join(f"  {left:<21} {right}".rstrip() for left, right in rows))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The words of a command line; UsageError for what cannot be understood."""
    made = parser()
    found, unknown = made.parse_known_intermixed_args(list(arguments))
    wrong = [word for word in unknown if word.startswith("-")]
    known = [option for action in made._actions for option in action.option_strings]  # noqa: SLF001
    if wrong:
        raise UsageError("; ".join(f"unknown option {_suggested(word, known)}" for word in wrong))
    for word in found.addresses:
        if f"--{word}" in known:
            raise UsageError(f'{shown(word)} is no address; did you mean "--{word}"?')
    if found.verbose and found.quiet:
        raise UsageError("-v and -q contradict each other")
    return found


def _suggested(word: str, known: Sequence[str]) -> str:
    name = word.partition("=")[0]
    if name in ELSEWHERE:
        return f'{shown(name)}; an address stands alone, as in "forksocks :1080"'
    bare = {option.lstrip("-"): option for option in known if option.startswith("--")}
    near = nearest(name.lstrip("-"), bare)  # all begin with dashes, which likens nothing
    meant = OURS.get(name) or (bare[near] if near else None)
    return f"{shown(name)}; did you mean {shown(meant)}?" if meant else shown(name)


def flags(found: argparse.Namespace) -> Mapping[str, Flag]:
    """What was typed, by the key that it sets."""
    return dict(_flags(found))


def _flags(found: argparse.Namespace) -> Iterator[tuple[str, Flag]]:
    given = vars(found)
    for name, _, key, _ in ROWS:
        if given[key] not in (None, False):
            value = given[key]
            yield key, Flag(name, ",".join(value) if isinstance(value, list) else value)
    verbosity = "-" + "v" * min(3, found.verbose) if found.verbose else "-q" if found.quiet else None
    if verbosity:
        yield "log.level", Flag(verbosity, LEVELS[verbosity])
    if found.addresses:
        yield "listen.bind", Flag("command line", found.addresses)
