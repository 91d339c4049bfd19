"""Which sessions under way would be refused by the rules of today, and their end.

A tunnel goes on by what was decided when it began, in a worker that may be of an older configuration. Here
the generation that serves is asked again: does the listener still serve such a client and command, do the
rules still allow what it has asked for at the address that it has reached, does the guard. The address of a
datagram of a UDP association is decided on as it comes, by its worker: here only who sends them is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from forksocks.access.cases import Judge, Verdict
from forksocks.access.networks import normalised
from forksocks.access.rules import Question
from forksocks.config.model import Action, Address, Case, CommandName, Config
from forksocks.status import tunnels
from forksocks.status.frame import BadRequest, Object, Server
from forksocks.wire.messages import Command

COMMANDS: Mapping[int, CommandName] = {
    Command.CONNECT: CommandName.CONNECT, Command.BIND: CommandName.BIND,
    Command.UDP_ASSOCIATE: CommandName.UDP,
}  # fmt: skip


def recheck(server: Server) -> Iterator[Object]:
    """The sessions that would be refused, each with `now`, what would be said to it."""
    for _, each in _refused(server):
        yield each


def end(server: Server) -> Iterator[Object]:
    """End them; yields each as it was."""
    by_worker: dict[int, dict[str, Object]] = {}
    for key, each in _refused(server):
        by_worker.setdefault(key, {})[each["id"]] = each
    yield from tunnels.end_all(server, by_worker)


def _refused(server: Server) -> list[tuple[int, Object]]:
    sources = server.sources
    if server.seen.facts.get("generation") != sources.generation:
        raise BadRequest("a reload is under way: ask again when it is done")
    by_worker: dict[int, dict[str, Object]] = {}
    for key, each in tunnels.every(server):
        by_worker.setdefault(key, {})[each["id"]] = each
    refused = []
    for key, there in by_worker.items():
        answer = server.lines.ask(key, "asked", list(there))
        if answer is None:
            raise BadRequest("a worker does not answer: what it carries cannot be looked at; ask again")
        for name, asked in answer.items():
            if name in there and not (verdict := _verdict(sources.judge, sources.config, asked)).allowed:
                refused.append((key, there[name] | {"now": str(verdict)}))
    return refused


def _verdict(judge: Judge, config: Config, asked: Any) -> Verdict:
    """What would be said today; of what a worker says that makes no sense, that it is refused."""
    try:
        return _judged(judge, config, asked)
    except (ValueError, TypeError, KeyError, AttributeError):
        return Verdict(Action.DENY, "@unknown")


def _judged(judge: Judge, config: Config, asked: Mapping[str, Any]) -> Verdict:
    user = None if asked["user"] is None else bytes.fromhex(asked["user"])
    listener = next((each for each in config.listen if each.name == asked["listen"]), None)
    if listener is None:
        return Verdict(Action.DENY, "@listen")
    command = COMMANDS[asked["command"]]
    if command not in listener.commands:
        return Verdict(Action.DENY, "@commands")
    client = _address(asked["client"])
    case = Case("", client, None if user is None else "", listen=listener.name, command=command)
    if judge.objection(case):
        return Verdict(Action.DENY, "@clients")
    if command is CommandName.UDP:
        return Verdict(Action.ALLOW, None)
    name = asked["name"].lower() or None
    question = Question(
        client, user, listener.name, command, name, _address(asked["addr"]), asked["port"],
        tuple(map(str, asked["groups"])),
    )  # fmt: skip
    return judge.judged(question)


def _address(text: str) -> Address | None:
    return normalised(ip_address(text)) if text else None
