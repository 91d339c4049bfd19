"""`forksocksctl workers`, `drain`, `resume` and `log`: signals to the supervisor and orders, and what came of
them."""

from __future__ import annotations

import argparse
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forksocks.verbs import asking, orders, show, status
from forksocks.verbs.orders import Status
from forksocks.verbs.verb import Refused, WrongUsage

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

_OF_LOG = """\
  forksocksctl log reopen
  forksocksctl log level debug client=192.0.2.7 for 10m
  forksocksctl log level configured
exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers"""
_EPILOG = "exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers"
# Seconds until something should have come of it: a fork takes less than one, but a machine may be busy.
SOON = 60.0


def register(verbs: Verbs) -> None:
    """Add the verbs to the command line."""
    workers = verbs.add_parser(
        "workers", help="have one worker more or less, until the next reload", epilog=_EPILOG
    )
    workers.add_argument("change", choices=("+1", "-1"), metavar="+1|-1", help="the last one stays")
    workers.set_defaults(run=run_workers)
    drain = verbs.add_parser(
        "drain", help="serve nobody new; tunnels finish, clients wait in the queue", epilog=_EPILOG
    )
    drain.set_defaults(run=run_drain)
    resume = verbs.add_parser(
        "resume", help="serve again after drain, by the configuration as it is then", epilog=_EPILOG
    )
    resume.set_defaults(run=run_resume)
    log = verbs.add_parser(
        "log", help="reopen the log file, or log more or less for a while", epilog=_OF_LOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    log.add_argument("what", choices=("reopen", "level"), metavar="reopen|level")
    log.add_argument(
        "words", nargs="*", metavar="LEVEL [client=NETWORK] [for TIME]",
        help="of level: error, notice, info, debug or trace; configured takes it back",
    )  # fmt: skip
    log.set_defaults(run=run_log)
    for made in (workers, drain, resume, log):
        asking.add_options(made)


def run_workers(arguments: argparse.Namespace) -> None:
    """One more or less, and wait for it; Refused if nothing comes of it."""
    more = arguments.change == "+1"
    before = orders.status(arguments.socket)
    had = _serving(before)
    if not more and had <= 1:
        raise Refused("the last worker stays; `forksocksctl drain` serves nobody new")
    number = signal.SIGTTIN if more else signal.SIGTTOU
    after = _ordered(arguments.socket, before, number, lambda now: _serving(now) == had + (1 if more else -1))
    orders.say(arguments, {"workers": _serving(after)}, f"{_serving(after)} workers, until the next reload")


def run_drain(arguments: argparse.Namespace) -> None:
    """Let the workers finish, and wait until none takes anybody new."""
    before = orders.status(arguments.socket)
    after = _ordered(arguments.socket, before, signal.SIGWINCH, lambda now: not _serving(now))
    left = after["sessions"]["open"]
    text = f"draining, {left} tunnels left; `forksocksctl resume` serves again"
    orders.say(arguments, {"sessions": left}, text)


def run_resume(arguments: argparse.Namespace) -> None:
    """Serve again, and wait until all workers do."""
    before = orders.status(arguments.socket)
    if _serving(before):
        raise Refused("nothing is drained")
    after = _ordered(arguments.socket, before, signal.SIGHUP, _serve_all)
    orders.say(arguments, {"workers": _serving(after)}, f"{_serving(after)} workers serve")


def run_log(arguments: argparse.Namespace) -> None:
    """Have the log opened again, of which the server's log tells; or sessions logged as it is said."""
    if arguments.what == "level":
        _set_level(arguments)
        return
    if arguments.words:
        raise WrongUsage("reopen takes no words")
    pid = orders.status(arguments.socket)["pid"]
    orders.send(arguments.socket, pid, signal.SIGUSR1)
    orders.say(arguments, {"asked": pid}, f"asked the server of process {pid} to open its log again")


def _set_level(arguments: argparse.Namespace) -> None:
    words: list[str] = list(arguments.words)
    if not words:
        raise WrongUsage("level takes a level: error, notice, info, debug, trace, or configured")
    found = {"level": words.pop(0)}
    if "for" in words:
        at = words.index("for")
        if len(words) == at + 1:
            raise WrongUsage("for takes a time, as in for 10m")
        found["for"] = words[at + 1]
        del words[at : at + 2]
    found |= show.filters(words)
    for told in asking.ask(arguments.socket, "log-level", found):
        orders.say(arguments, told, status.logged(told))


def _ordered(path: Path, before: Status, number: signal.Signals, is_done: Callable[[Status], bool]) -> Status:
    """Signal, and wait until it is done. Raises Refused where that does not come."""
    orders.send(path, before["pid"], number)
    until = time.monotonic() + SOON
    while time.monotonic() < until:
        now: dict[str, Any] = dict(orders.status(path))
        if is_done(now):
            return now
        time.sleep(orders.LOOK)
    raise Refused(
        f"nothing came of it within {SOON:.0f} s: the log may say why, and a server that was started "
        f"from a terminal takes no {number.name}"
    )


def _serving(status: Status) -> int:
    return sum(worker["ready"] and not worker["draining"] for worker in status["workers"])


def _serve_all(status: Status) -> bool:
    """Whether there are workers that stay, and all of them serve."""
    staying = [worker for worker in status["workers"] if not worker["draining"]]
    return bool(staying) and all(worker["ready"] for worker in staying)
