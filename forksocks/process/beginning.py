"""The begin of a generation: everything that it needs is opened, or nothing stays open."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack

from forksocks.access.rules import Rules
from forksocks.config.model import Config
from forksocks.host.ceilings import Ceilings
from forksocks.host.log import Log
from forksocks.host.sandbox.privileges import Identity
from forksocks.host.scoreboard.claims import ClaimPool
from forksocks.process.admin_socket import open_endpoint, open_http
from forksocks.process.generation import Generation
from forksocks.process.limits import impossible, within_limits
from forksocks.process.listeners import BindError, Endpoint, open_listeners
from forksocks.session.service import TICK


class StartError(Exception):
    """The server, or its next generation, could not start; `status` is the exit status of a server."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


def begin(
    number: int,
    config: Config,
    rules: Rules,
    identity: Identity | None,
    at_hand: Sequence[Endpoint] = (),
    ports: Collection[int] = (),
    patience: float = 0.0,
    *,
    claims: ClaimPool,
) -> Generation:
    """Open what a generation needs; its processes are still to be forked. See `open_listeners`.

    identity: whom the children become. claims: where all generations take theirs from.

    Raises StartError, and then nothing is left open that was not `at_hand`.
    """
    short = impossible(config, Ceilings())
    config, reduced = within_limits(config)
    with ExitStack() as opened:
        try:
            log = Log.open(config.log)
        except OSError as error:
            raise StartError(f"cannot write the log {error.filename}: {error.strerror}") from error
        opened.callback(log.close, 0.0)
        try:
            listeners = open_listeners(config.listen, TICK, at_hand, ports, patience)
            ours = [listener.endpoint for listener in listeners]
            opened.callback(_close_new, ours, at_hand)
            admin = [open_endpoint(config.admin, TICK, at_hand, patience)]
            ours += filter(None, admin)
            others = [each for each in at_hand if each not in ours]
            admin.append(open_http(config.admin, TICK, others, ports, patience))
            ours += filter(None, admin[1:])
            asked = [*filter(None, admin)]
            begun = Generation(number, config, rules, reduced, listeners, log, identity, asked, claims)
        except BindError as error:
            raise StartError(str(error)) from error
        except OSError as error:
            room = f"cannot make room for {config.server.workers} workers"
            raise StartError(f"{room}: {error.strerror}") from error
        opened.pop_all()
    begun.short = short
    return begun


def _close_new(endpoints: Sequence[Endpoint], at_hand: Sequence[Endpoint]) -> None:
    for endpoint in endpoints:
        if endpoint not in at_hand:
            endpoint.close()
