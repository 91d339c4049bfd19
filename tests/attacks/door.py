"""A server with a door for attackers: a client that asks for `NAME.attack` makes the worker try that attempt.

    python -m tests.attacks.door FORKSOCKS-ARGUMENTS

The whole name is `NAME.PID-PID.attack`, with the numbers of all workers; those not its own are siblings.
The door is a patch of the worker, put on here before anything is forked; the product has none. What came of
the attempt is the hint of the session's line in the log: `succeeded`, or `denied` and by what.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from forksocks import cli
from forksocks.host.deadline import Deadline
from forksocks.process import birth, restarts, worker
from forksocks.traffic.resolve import LookupFailed
from tests.attacks.attempts import AROUND, ATTEMPTS

DOOR = ".attack"


def try_it(name: str) -> str:
    try:
        ATTEMPTS[name]()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it denied the attempt
        return f"denied: {type(error).__name__}: {error}"
    return "succeeded"


def open_door() -> None:
    resolve = worker.Worker._resolve
    forget = birth._forget_what_is_not

    def resolve_or_attack(self: Any, name: str, client: Any, deadline: Deadline) -> Any:
        if not name.endswith(DOOR):
            return resolve(self, name, client, deadline)
        wanted, _, workers = name.removesuffix(DOOR).partition(".")
        AROUND.worker = self
        AROUND.siblings = [pid for pid in map(int, workers.split("-")) if pid != os.getpid()]
        self._original_resolve = lambda other: resolve(self, other, client, Deadline(10))
        raise LookupFailed(try_it(wanted))

    def forget_and_look(child: Any, generation: Any, parent: Any) -> None:
        AROUND.supervisor, AROUND.log = os.getppid(), generation.log
        others = [other for other in generation.children if other is not child]
        AROUND.strangers = [each for other in others for each in (other.board, other.claims) if each]
        AROUND.strangers.append(generation.bans)
        forget(child, generation, parent)

    worker.Worker._resolve = resolve_or_attack  # type: ignore[method-assign]
    birth._forget_what_is_not = forget_and_look
    # A hundred deaths in a row are what this server is for.
    restarts.PAUSES = (0.0,) * 7


if __name__ == "__main__":
    open_door()
    sys.exit(cli.main(sys.argv[1:]))
