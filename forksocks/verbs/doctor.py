"""`forksocksctl doctor`: is this machine fit for what the server is configured for, and what mends it?"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from forksocks.config.load import ConfigError, load
from forksocks.diagnosis import OK, WRONG, Finding, Patient, findings
from forksocks.host.ceilings import Ceilings
from forksocks.verbs import asking
from forksocks.verbs.settings import DEFAULT_FILE
from forksocks.verbs.tables import printable
from forksocks.verbs.verb import DONE, REFUSED, NoServer, Refused, WrongUsage

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

_DESCRIPTION = """\
Look at what the machine allows and whether it is enough for the workers and
threads of a configuration: limits, name servers, clock, files, sandbox. Where
a server answers, its limits are looked at, else those of this shell.
"""


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "doctor", help="look whether this machine is fit for a configuration", description=_DESCRIPTION,
        epilog="exit status: 0 nothing is wrong, 1 something is, 2 wrong usage or configuration",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    made.add_argument(
        "-c", "--config", metavar="FILE", type=Path, help=f"({DEFAULT_FILE}, or else the defaults)"
    )
    made.add_argument("--json", action="store_true", help="print JSON, one object a line")
    made.add_argument("--socket", metavar="PATH", type=Path, help="the server's; socket in [admin] without")
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print every finding as it comes; REFUSED where something is wrong."""
    path = arguments.config or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    try:
        loaded = load(path, {}, may_wait=True)
    except ConfigError as error:
        raise WrongUsage(str(error)) from None
    whose, ceilings = _subject(arguments.socket or loaded.config.admin.socket or asking.DEFAULT)
    patient = Patient(loaded, path, ceilings)
    server = loaded.config.server
    text = f"{server.workers} workers x {server.threads} threads = {patient.capacity} connections; {whose}"
    states = []
    for each in itertools.chain((Finding("capacity", OK, text),), findings(patient)):
        states.append(each.state)
        _show(each, arguments.json)
    return REFUSED if WRONG in states else DONE


def _subject(socket: Path) -> tuple[str, Ceilings]:
    """Whose limits are looked at: the server's that answers, else our own."""
    try:
        (status,) = asking.ask(socket, "status")
    except (NoServer, Refused):
        return "no server answers: the limits are those of this shell", Ceilings()
    return f"the limits are those of process {status['pid']}", Ceilings(int(status["pid"]))


def _show(each: Finding, as_json: bool) -> None:
    if as_json:
        found = {"check": each.check, "state": each.state, "text": each.text, "mend": each.mend}
        sys.stdout.write(json.dumps(found) + "\n")
        return
    sys.stdout.write(f"{each.state:<6}  {each.check:<13}  {printable(each.text)}\n")
    if each.mend:
        sys.stdout.write(f"{'':<23}mend: {printable(each.mend)}\n")
