"""Who may not log in now, and the orders to the lookup agent, which decides: ban, and lift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forksocks.access import lockout
from forksocks.host.scoreboard.books import MOST_TRIES, PAUSE, Unsettled
from forksocks.status.frame import BadRequest, Object, Server

FIELDS: Sequence[str] = ("network", "user", "by")
ABOUT: Sequence[str] = ("network", "user", "until")


def bans(server: Server) -> Iterator[Object]:
    """Everyone who is banned, by hand first."""
    seen = server.sources.bans.see(lambda: None, MOST_TRIES, PAUSE)
    if seen is None:
        raise Unsettled
    yield from lockout.listed(seen[0])


def ban(server: Server) -> Iterator[Object]:
    """Ban a network or a user by hand; yields the ban."""
    yield from _ordered(server, "ban")


def unban(server: Server) -> Iterator[Object]:
    """Lift the bans of a network, and of all that is in it, or of a user; yields what they were."""
    while lifted := _ordered(server, "unban"):
        yield from lifted


def _ordered(server: Server, verb: str) -> Sequence[Object]:
    """What the agent of the generation that serves has done. Raises BadRequest."""
    if _is_changing(server):
        raise BadRequest("a reload is under way, whose agent would not know of it: ask again when it is done")
    if ("network" in server.filters) == ("user" in server.filters):
        raise BadRequest("a ban is about a network or a user")
    answer = server.lines.order(server.sources.agent, verb, dict(server.filters))
    if answer is None:
        raise BadRequest("the lookup agent does not answer: it may or may not have done it")
    if "error" in answer:
        raise BadRequest(str(answer["error"]))
    found = answer.get("bans")
    return found if isinstance(found, list) else ()


def _is_changing(server: Server) -> bool:
    """Whether there is an agent that will serve after the one that is asked here."""
    ours = server.sources.generation
    processes = server.seen.facts.get("processes", ())
    return any(each["role"] == "lookup" and each["generation"] > ours for each in processes)
