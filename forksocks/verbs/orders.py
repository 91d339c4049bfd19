"""`forksocksctl reload` and `upgrade`: signals to the supervisor, and what came of them, in words."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forksocks.verbs import asking
from forksocks.verbs.verb import NoServer, Refused

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

_EPILOG = "exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no server answers"
LOOK = 0.1  # seconds between two looks whether it is done
# Seconds that a server may be out of reach while one generation, or program, follows another.
OUT_OF_REACH = 10.0
# Seconds until we give up: the server itself gives up what is not ready after its start_limit, 60 by default.
LONGEST = 300.0

Status = Mapping[str, Any]


def register(verbs: Verbs) -> None:
    """Add both verbs to the command line."""
    reload = verbs.add_parser(
        "reload", help="have a running server read its configuration again", epilog=_EPILOG
    )
    reload.add_argument("--wait", action="store_true", help="until it serves by it, or has refused it")
    reload.add_argument(
        "--sessions", choices=("keep", "recheck"), default="keep",
        help="recheck: wait, then end the tunnels that it would refuse (see recheck); default: keep",
    )  # fmt: skip
    reload.set_defaults(run=run_reload)
    upgrade = verbs.add_parser(
        "upgrade",
        help="have the program that is installed by now take over",
        epilog=_EPILOG,
    )
    upgrade.set_defaults(run=run_upgrade)
    for made in (reload, upgrade):
        asking.add_options(made)


def run_reload(arguments: argparse.Namespace) -> None:
    """Order it, and wait for the end if asked to; Refused where it was refused or has failed."""
    before = status(arguments.socket)
    send(arguments.socket, before["pid"], signal.SIGHUP)
    rechecks = arguments.sessions == "recheck"
    if not (arguments.wait or rechecks):
        say(arguments, {"asked": before["pid"]}, f"asked the server of process {before['pid']} to reload")
        return
    after = _wait(arguments.socket, lambda now: _is_done(before, now, "reload"))
    outcome = after["outcomes"]["reload"]
    if after["pid"] != before["pid"]:
        text = f"another program has taken over, and read the configuration: process {after['pid']}"
    elif outcome["error"]:
        raise Refused(f"not reloaded, the server goes on as before: {outcome['error']}")
    else:
        text = f"reloaded: generation {after['generation']} serves, changed: {outcome['changed']}"
    found = {"generation": after["generation"], "changed": outcome["changed"]}
    if rechecks:
        found["ended"] = _end_the_refused(arguments.socket)
        text += f"; tunnels ended: {found['ended']}"
    say(arguments, found, text)


def _end_the_refused(path: Path) -> int:
    """How many tunnels were ended that the rules of now refuse. Raises Refused and NoServer.

    Who is told to ask again does so: the process that answers may be the one from before the reload.
    """
    until = time.monotonic() + OUT_OF_REACH
    while True:
        try:
            return len(list(asking.ask(path, "recheck-end")))
        except Refused:
            if time.monotonic() > until:
                raise
        time.sleep(LOOK)


def run_upgrade(arguments: argparse.Namespace) -> None:
    """Order it and wait until the new program serves; Refused where it does not."""
    before = status(arguments.socket)
    send(arguments.socket, before["pid"], signal.SIGUSR2)
    after = _wait(arguments.socket, lambda now: _is_done(before, now, "upgrade"))
    if after["pid"] == before["pid"]:
        raise Refused(f"not upgraded, the server goes on as before: {after['outcomes']['upgrade']['error']}")
    found = {"pid": after["pid"], "version": after["version"], "before": before["version"]}
    drains = f"process {before['pid']} lets its tunnels finish"
    say(arguments, found, f"upgraded: process {after['pid']} serves, {_versions(before, after)}; {drains}")


def _versions(before: Status, after: Status) -> str:
    old, new = before["version"], after["version"]
    return f"version {new}" if old == new else f"version {new} after {old}"


def _is_done(before: Status, now: Status, kind: str) -> bool:
    """Whether one has ended that began after `before`, or another program has taken over.

    An upgrade that was under way then will do as well: there is only one at a time. One that succeeded is
    done when the new program answers.
    """
    if now["pid"] != before["pid"]:
        return bool(now["state"] == "running")
    outcome = now["outcomes"][kind]
    if kind == "upgrade":
        return bool(outcome["error"] and outcome["ended"] > before["outcomes"][kind]["ended"])
    return bool(outcome["ended"] > before["outcomes"][kind]["begun"])


def status(path: Path) -> Status:
    """Ask how it is doing; NoServer, or Refused of one that is too old."""
    (found,) = asking.ask(path, "status")
    if "reload" not in found.get("outcomes", {}):
        raise Refused("the server is of a version that does not tell what comes of it: use kill(1)")
    return found


def send(path: Path, pid: int, number: signal.Signals) -> None:
    """Signal the process that the server calls its supervisor.

    Another user's server could name any pid: root signals it as that user, who can reach only its own.
    """
    owner = path.stat().st_uid
    if owner not in (0, os.geteuid()):
        if os.geteuid():
            raise Refused(f"{path} belongs to another user: only that one, and root, can do this")
        _send_as(owner, pid, number)
        return
    try:
        os.kill(pid, number)
    except PermissionError:
        raise Refused(f"only root and the account that started process {pid} can do this") from None
    except ProcessLookupError:
        raise NoServer(f"process {pid} has ended") from None


def _send_as(owner: int, pid: int, number: signal.Signals) -> None:
    words = ["sh", "-c", 'kill -s "$1" "$2"', "kill", number.name.removeprefix("SIG"), str(pid)]
    done = subprocess.run(
        words, user=owner, extra_groups=[], cwd="/", capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Refused(f"process {pid} cannot be signalled as user {owner}: {done.stderr.strip()}")


def _wait(path: Path, is_done: Callable[[Status], bool]) -> Status:
    """Ask again and again until it is done."""
    until = time.monotonic() + LONGEST
    reached = time.monotonic()
    while time.monotonic() < until:
        try:
            now = status(path)
        except NoServer:
            if time.monotonic() - reached > OUT_OF_REACH:
                raise
        else:
            reached = time.monotonic()
            if is_done(now):
                return now
        time.sleep(LOOK)
    raise Refused(f"nothing came of it within {LONGEST:.0f} s; the server's log may say why")


def say(arguments: argparse.Namespace, found: Mapping[str, Any], text: str) -> None:
    """Say what came of it, to a person or to a program."""
    sys.stdout.write(json.dumps(found) + "\n" if arguments.json else text + "\n")
