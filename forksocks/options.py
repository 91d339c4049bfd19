"""The server's options: their names, the help text, and which key of the configuration each one sets.

argparse takes the words apart; what they are worth `config.load` decides, so that a mistake reads the same
in the file and on the command line.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from forksocks.config.load import Flag
from forksocks.config.problems import did_you_mean
from forksocks.config.values import shown

USAGE = "forksocks [options] [ADDRESS:PORT ...]"
DESCRIPTION = """\
A pre-fork SOCKS server. Without an address it listens on 127.0.0.1:1080.
ADDRESS:PORT, [V6]:PORT, :PORT (every address), unix:/path; several are allowed.
Addresses replace those of the file; a lone [[listen]] keeps its other settings."""
EPILOG = """\
examples:
  forksocks :1080                     for this machine and its private networks
  forksocks --users users.txt :1080   for whoever has a password
  forksocks --allow-from 203.0.113.0/24 :1080
  forksocks -c /etc/forksocks.toml --check
users are made by: forksocksctl passwd users.txt NAME
exit status: 0 ended as asked, 1 could not run (address in use, permission),
2 wrong usage or configuration"""

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


class UsageError(Exception):
    """A command line that argparse or we cannot understand."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


class _Help(argparse.RawDescriptionHelpFormatter):
    """80 columns wherever it is read, so that it stays one screen."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=80)


def parser() -> argparse.ArgumentParser:
    """The parser; all values stay texts."""
    made = _Parser(
        prog="forksocks",
        usage=USAGE,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=_Help,
        allow_abbrev=False,
        add_help=False,
    )
    made.add_argument("addresses", nargs="*", metavar="ADDRESS:PORT", help=argparse.SUPPRESS)
    add = made.add_argument
    add("-c", "--config", metavar="FILE", type=Path, help="read FILE (TOML); options override it")
    for name, metavar, key, text in ROWS:
        if metavar is None:
            add(name, dest=key, action="store_true", help=text)
        else:
            add(name, dest=key, metavar=metavar, help=text)
    add(
        "-v", dest="verbose", action="count", default=0, help="log sessions; -vv steps; -vvv system decisions"
    )
    add("-q", dest="quiet", action="store_true", help="log errors only, and be silent at start")
    add("--check", action="store_true", help="check the configuration, say what is wrong, and exit")
    add("--show-config", action="store_true", help="print the configuration in effect, with origins")
    add("--version", action="store_true", help="print versions and what this machine offers")
    add("-h", "--help", action="store_true", help="print this")
    return made


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
    return f"{shown(name)}{did_you_mean(name, known)}"


def flags(found: argparse.Namespace) -> Mapping[str, Flag]:
    """What was typed, by the key that it sets."""
    return dict(_flags(found))


def _flags(found: argparse.Namespace) -> Iterator[tuple[str, Flag]]:
    given = vars(found)
    for name, _, key, _ in ROWS:
        if given[key] not in (None, False):
            yield key, Flag(name, given[key])
    verbosity = "-" + "v" * min(3, found.verbose) if found.verbose else "-q" if found.quiet else None
    if verbosity:
        yield "log.level", Flag(verbosity, LEVELS[verbosity])
    if found.addresses:
        yield "listen.bind", Flag("command line", found.addresses)
