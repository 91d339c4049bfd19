"""What the server that runs would decide on a request, by the rules, groups and limits that it has now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from forksocks.access import explanation
from forksocks.config import rule_values
from forksocks.config.model import Address, Case, CommandName
from forksocks.config.values import Wrong
from forksocks.status.frame import BadRequest, Object, Server

FIELDS: Sequence[str] = ("client", "user", "groups", "listen", "command", "to", "addresses")


def explain(server: Server) -> Iterator[Object]:
    """The decision with its steps; without `addresses`, where a name's are needed, which name is `unknown`.

    families: which addresses of it the server would look up.
    """
    sources = server.sources
    try:
        case, found = _case(server), _addresses(server)
    except (Wrong, ValueError) as error:
        raise BadRequest(str(error)) from None
    told = explanation.explain(sources.judge, sources.config, case, found, sources.gauge.fills)
    yield told.named(case) | {"families": sources.config.dns.families.value}


def _case(server: Server) -> Case:
    asked, config = server.filters, server.sources.config
    if "to" not in asked:
        raise BadRequest("explain takes to=HOST:PORT")
    listen = asked.get("listen")
    if listen is not None and listen not in [each.name for each in config.listen]:
        raise BadRequest(f"there is no listener {listen[:40]!r}")
    return Case(
        rule_values.destination(asked["to"]),
        rule_values.address(asked["client"]) if "client" in asked else None,
        user := asked.get("user"), _groups(server, user), listen,
        CommandName(asked.get("command", CommandName.CONNECT.value)),
    )  # fmt: skip


def _groups(server: Server, user: str | None) -> tuple[str, ...]:
    """As it was said, or else those that the agent knows the user to be in."""
    if "groups" in server.filters:
        return tuple(filter(None, server.filters["groups"].split(",")))
    if user is None or not any(rule.groups for rule in server.sources.config.rule):
        return ()
    answer = server.lines.order(server.sources.agent, "groups", {"user": user})
    if answer is None or not isinstance(answer.get("groups"), list):
        raise BadRequest("the lookup agent does not answer, which knows the groups of the user")
    return tuple(map(str, answer["groups"]))


def _addresses(server: Server) -> list[Address] | None:
    written = server.filters.get("addresses")
    return None if written is None else [ip_address(each) for each in written.split(",")]
