"""The command `forksocksctl`: one verb, one module in `verbs`.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers. Nothing that a user can cause
shows a traceback.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from forksocks import __version__
from forksocks.config.near import did_you_mean
from forksocks.config.values import readable
from forksocks.host.terminal import printable_lines
from forksocks.verbs import (
    bans,
    doctor,
    dump,
    end,
    explain,
    init,
    orders,
    passwd,
    recheck,
    refusals,
    settings,
    show,
    status,
    steering,
    top,
)
from forksocks.verbs.verb import DONE, NO_SERVER, REFUSED, USAGE, NoServer, Refused, WrongUsage

VERBS = (
    status,
    show,
    top,
    bans,
    end,
    recheck,
    refusals,
    orders,
    steering,
    settings,
    doctor,
    dump,
    init,
    explain,
    passwd,
)


# What argparse says of a word that is none of a few, of options and of words too many.
NONE_OF = re.compile(r"argument \S+: invalid choice: '(.*)' \(choose from (.*)\)")
TOO_MANY = "unrecognized arguments: "


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print the mistake fit for a terminal (argparse repeats arguments as they are), and exit."""
        self.print_usage(sys.stderr)
        _complain(_explained(message))
        sys.exit(USAGE)


class _Verb(_Parser):
    """The command line of one verb, on which options and other words stand in any order."""

    _within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse calls it for a verb, and again from within parse_known_intermixed_args."""
        if self._within:
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            found, unknown = self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False
        if unknown:  # or they would be complained of with the usage of no verb
            self.error(TOO_MANY + " ".join(unknown))
        return found, unknown


def _explained(message: str) -> str:
    """What argparse says in the words of a user."""
    found = NONE_OF.fullmatch(message)
    if found is not None:
        known = re.findall(r"\w+", found[2])
        return f"{readable(found[1])} is none of {', '.join(known)}{did_you_mean(found[1], known)}"
    return message.replace(TOO_MANY, "not understood: ")


def parser() -> argparse.ArgumentParser:
    """The command line with all its verbs."""
    made = _Parser(prog="forksocksctl", description="Look after a forksocks server.", allow_abbrev=False)
    made.add_argument("--version", action="version", version=f"forksocksctl {__version__}")
    verbs = made.add_subparsers(metavar="VERB", required=True, parser_class=_Verb)
    for verb in VERBS:
        verb.register(verbs)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    try:
        status = _run(sys.argv[1:] if arguments is None else arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _complain("interrupted")
        return REFUSED
    except BrokenPipeError:
        _forget_output()
        return REFUSED
    except OSError as error:  # a full disk behind standard output; verbs refuse what concerns their files
        _forget_output()
        _complain(f"{error.strerror or error}")
        return REFUSED
    return status


def _run(arguments: Sequence[str]) -> int:
    made = parser()
    try:
        found = made.parse_args(arguments)
    except SystemExit as end:  # after --help, --version or a mistake, which argparse has printed
        return DONE if not end.code else USAGE
    try:
        return found.run(found) or DONE
    except WrongUsage as error:
        _complain(str(error))
        return USAGE
    except Refused as error:
        _complain(str(error))
        return REFUSED
    except NoServer as error:
        _complain(str(error))
        return NO_SERVER


def _complain(text: str) -> None:
    """One line to standard error, whatever that can print."""
    try:
        lines = "\n".join(printable_lines(text))
        print(f"forksocksctl: {lines}", file=sys.stderr, flush=True)
    except (OSError, AttributeError):
        return  # nobody can be told


def _forget_output() -> None:
    """Let what could not be printed go: Python would try again at exit, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
