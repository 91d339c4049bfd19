"""`forksocksctl status`: how a running server is doing, on one screen."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from forksocks.verbs import asking, show
from forksocks.verbs.tables import age, printable, size

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

_EPILOG = "exit status: 0 done, 1 refused, 2 wrong usage, 3 no server answers"


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser("status", help="show how a running server is doing", epilog=_EPILOG)
    asking.add_options(made)
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Ask and print; NoServer or Refused if that cannot be."""
    for found in asking.ask(arguments.socket, "status"):
        sys.stdout.write(json.dumps(found) + "\n" if arguments.json else as_text(found))


def as_text(status: Mapping[str, Any]) -> str:
    """The screen."""
    sessions, totals, rates = status["sessions"], status["totals"], status["rates"]
    lines = {
        "forksocks": f"{status['version']}, {status['state']}, up {age(status['uptime'])}, "
        f"supervisor {status['pid']}, generation {status['generation']}",
        "sessions": f"{sessions['open']} open{_counts(sessions['states'], ': ')}",
        "rates": f"{rates['connections']:.1f} connections/s, up {size(rates['up'])}/s, "
        f"down {size(rates['down'])}/s",
        "totals": f"{totals['accepted']} accepted, up {size(totals['up'])}, down {size(totals['down'])}",
        "commands": _counts(totals["commands"]),
        "logins": _counts(totals["logins"]),
        "ends": _counts(totals["ends"]),
        "full": f"{totals['full']} times, {age(totals['full_seconds'])} in all" if totals["full"] else "",
        "log": logged(status["log"]) if "log" in status else "",
        "sandbox": _sandbox(status.get("sandbox") or {}),
        "deaths": _counts(status["deaths"]),
    }
    head = "".join(f"{name:<10} {printable(text)}\n" for name, text in lines.items() if text)
    tables = [show.as_table(kind, status[kind]) for kind in ("listeners", "workers")]
    return "\n".join([head, *tables])


def logged(told: Mapping[str, Any]) -> str:
    """`notice; debug for clients of 192.0.2.0/24, 9m58s more`."""
    order = told["order"]
    if order is None:
        return str(told["configured"])
    who = f" for clients of {order['client']}" if order["client"] else ""
    left = "" if order["for"] is None else f", {age(order['for'])} more"
    return f"{told['configured']}; {order['level']}{who} of sessions that begin now{left}"


def _sandbox(layers: Mapping[str, str]) -> str:
    """`auto: limits, ids (nobody); without seccomp (...)`; nothing of an older server that does not tell."""
    if not layers:
        return ""
    missing = f"; without {layers['missing']}" if layers["missing"] else ""
    return f"{layers['mode']}: {layers['holds'] or 'none'}{missing}"


def _counts(counts: Mapping[str, int], before: str = "") -> str:
    """`12 idle, 3 denied`: what has happened, the most frequent first."""
    happened = sorted(((number, name) for name, number in counts.items() if number), reverse=True)
    text = ", ".join(f"{number} {name}" for number, name in happened)
    return before + text if text else ""
