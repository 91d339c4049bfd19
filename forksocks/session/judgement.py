"""May this client have what it asked for? Rules judge the name; then rules and guard judge each address.

A name that the rules refuse is never looked up. Each address is judged right before it is dialled, and a
refusal says what stands against it. Without rules the guard alone is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forksocks.access.limits import Exceeded, Limits
from forksocks.access.rules import Decision, Question, Rules
from forksocks.config.model import Action, Address, CommandName
from forksocks.host.causes import Cause
from forksocks.session.client import Client
from forksocks.session.lookup import resolve
from forksocks.session.service import Asked, Ended
from forksocks.wire.messages import Command, Reply

COMMANDS: Mapping[int, CommandName] = {
    Command.CONNECT: CommandName.CONNECT,
    Command.BIND: CommandName.BIND,
    Command.UDP_ASSOCIATE: CommandName.UDP,
    Command.RESOLVE: CommandName.RESOLVE,
    Command.RESOLVE_PTR: CommandName.RESOLVE,
}


def judge_name(client: Client, asked: Asked) -> None:
    """Refuse, before anyone looks it up, a name that is refused whatever its address is. Raises Ended."""
    rules = client.service.rules
    if rules is None or not isinstance(asked.host, str):
        return
    client.decision = decision = rules.decide(_question(client, asked, None))
    if decision is not None and not decision.allowed:
        raise refused(client, Reply.NOT_ALLOWED, Cause.DENIED, _reason(decision))


def permit(client: Client, asked: Asked) -> Callable[[Address], str | None]:
    """Return what judges each address of a host: None if it may be dialled, else what stands against it.

    The first that may be dialled is counted towards the limits; over one, judging it raises Ended.
    """
    rules, guard, limits = client.service.rules, client.service.refusal, client.service.limits
    if rules is None and limits is None:
        return guard

    def judge(address: Address) -> str | None:
        question = _question(client, asked, address)
        objection = (_objection(client, rules, question) if rules else None) or guard(address)
        if objection is None and limits is not None:
            _claim(client, limits, question)
        return objection

    return judge


def allowed(client: Client, asked: Asked) -> list[Address]:
    """All addresses of what was asked for that may be reached, looked up if it is a name.

    Raises the refusal that the client gets if there is none.
    """
    judge_name(client, asked)
    found = resolve(client, asked.host) if isinstance(asked.host, str) else [asked.host]
    judge = permit(client, asked)
    objections = {address: judge(address) for address in found}
    reachable = [address for address, objection in objections.items() if objection is None]
    if not reachable:
        hint = next(iter(objections.values()), None) or "no address"
        raise refused(client, Reply.NOT_ALLOWED, Cause.DENIED, hint)
    return reachable


def _objection(client: Client, rules: Rules, question: Question) -> str | None:
    """What the rules say of an address."""
    client.decision = decision = rules.decide(question)
    assert decision is not None  # the address is known
    if decision.action is Action.REPORT:
        client.log.notice("would-deny", **client.facts())
    return None if decision.allowed else _reason(decision)


def _claim(client: Client, limits: Limits, question: Question) -> None:
    """Count a session towards its limits, once. Raises Ended."""
    if client.holding is not None:
        return
    try:
        client.holding = limits.claim(question, None if client.decision is None else client.decision.rule)
    except Exceeded as exceeded:
        raise client.refusal(Reply.NOT_ALLOWED, Cause.LIMITED, f"limit {exceeded}") from exceeded


def permit_datagrams(client: Client, asked: Asked) -> Callable[[str | None, Address | None, int], str | None]:
    """Count an association towards its limits, which raises Ended, and return what judges its datagrams.

    The judge takes the name that was asked for, the address that is written to, and the port; without an
    address it says what stands against the name whatever its address is.
    """
    service = client.service
    if service.limits is not None:
        _claim(client, service.limits, _question(client, asked, None))
    reported = False

    def judge(name: str | None, address: Address | None, port: int) -> str | None:
        nonlocal reported
        if service.rules is not None:
            listener = service.listen.name
            question = Question(
                client.peer, client.user, listener, CommandName.UDP, name, address, port, client.groups
            )
            decision = service.rules.decide(question)
            if decision is not None and not decision.allowed:
                return _reason(decision)
            if decision is not None and decision.action is Action.REPORT and not reported:
                reported = True
                client.log.notice("would-deny", **client.facts(), datagram=f"{name or address}:{port}")
        return None if address is None else service.refusal(address)

    return judge


def refused(client: Client, reply: Reply, cause: Cause, hint: str) -> Ended:
    """The end of a request that failed or was denied; without an answer where a rule says so."""
    ended = client.refusal(reply, cause, hint)
    if cause is Cause.DENIED and client.decision is not None and client.decision.action is Action.DROP:
        client.reply = None
        ended.answer = b""
    return ended


def _reason(decision: Decision) -> str:
    return "no rule allows it" if decision.rule is None else f"rule {decision.rule}"


def _question(client: Client, asked: Asked, address: Address | None) -> Question:
    name = asked.host if isinstance(asked.host, str) else None
    command = COMMANDS[asked.command]
    return Question(
        client.peer,
        client.user,
        client.service.listen.name,
        command,
        name,
        address,
        asked.port,
        client.groups,
    )
