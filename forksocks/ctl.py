"""The command `forksocksctl`: one verb, one module in `verbs`.

Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers. Nothing that a user can cause
shows a traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from forksocks import __version__
from forksocks.host.terminal import printable
from forksocks.verbs import explain, orders, passwd, show, status
from forksocks.verbs.verb import DONE, NO_SERVER, REFUSED, USAGE, NoServer, Refused, WrongUsage

VERBS = (status, show, orders, explain, passwd)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print the mistake fit for a terminal (argparse repeats arguments as they are), and exit."""
        self.print_usage(sys.stderr)
        _complain(printable(message))
        sys.exit(USAGE)


def parser() -> argparse.ArgumentParser:
    """The command line with all its verbs."""
    made = _Parser(prog="forksocksctl", description="Look after a forksocks server.")
    made.add_argument("--version", action="version", version=f"forksocksctl {__version__}")
    verbs = made.add_subparsers(metavar="VERB", required=True)
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
        print(f"forksocksctl: {text}", file=sys.stderr, flush=True)
    except (OSError, AttributeError):
        return  # nobody can be told


def _forget_output() -> None:
    """Let what could not be printed go: Python would try again at exit, and complain."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main())
