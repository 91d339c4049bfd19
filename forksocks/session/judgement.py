"""May this client have what it asked for? Rules judge the name; then rules and guard judge each address.

A name that the rules refuse is never looked up. Each address is judged right before it is dialled, and a
refusal says what stands against it. Without rules the guard alone is asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from forksocks.access.limits import Exceeded, Limits
from forksocks.access.rules import Decision, Question, Rules
from forksocks.config.model import Action, Address, CommandName, Timeouts
from forksocks.host.causes import Cause
from forksocks.session.client import Client
from forksocks.session.lookup import resolve
from forksocks.session.service import Asked, Ended
from forksocks.traffic.sources import Source, Sources
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
    decision = rules.decide(_about(client, asked, None))
    client.decide(decision)
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
        question = _about(client, asked, address)
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


def settle(client: Client, asked: Asked, address: Address) -> None:
    """Of all addresses that were judged it is this one: what the rules said of it holds for the session."""
    if client.service.rules is not None:
        client.decide(client.service.rules.decide(_about(client, asked, address)))


def limits_of_silence(client: Client) -> Timeouts:
    """How long its tunnel may be silent: as the rule says, or else the listener."""
    idle = None if client.decision is None else client.decision.idle
    timeouts = client.service.listen.timeouts
    return timeouts if idle is None else dataclasses.replace(timeouts, idle=idle)


class RuleSources:
    """Where to go out from, by IP version: as the rule says that spoke last, or else as `sources`.

    A rule's interface goes without the address in `sources`, which may be another one's.
    """

    def __init__(self, last: Callable[[], Decision | None], sources: Sources) -> None:
        self._last = last
        self._sources = sources

    def get(self, version: int) -> Source | None:
        """The source, None to leave it to the kernel."""
        decision = self._last()
        own = None if decision is None else decision.egress.get(version)
        interface = None if decision is None else decision.interface
        return Source(own, interface) if own or interface else self._sources.get(version)


def sources(client: Client) -> Sources:
    """Where its connections go out from, to be asked for each right after it was permitted."""
    service = client.service
    if service.rules is None or not service.rules.choose_egress:
        return service.sources
    return RuleSources(lambda: client.decision, service.sources)


def _objection(client: Client, rules: Rules, question: Question) -> str | None:
    """What the rules say of an address."""
    decision = rules.decide(question)
    client.decide(decision)
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


class Datagrams:
    """What judges an association's datagrams: by the name that was asked for, the address and the port.

    Without an address it says what stands against the name whatever its address is. decision: what the rules
    said last.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._reported = False
        self._silence = 0.0
        self.decision: Decision | None = None

    def __call__(self, name: str | None, address: Address | None, port: int) -> str | None:
        """None if it may be written to, else what stands against it."""
        client, service = self._client, self._client.service
        if service.rules is not None:
            before, decision = (
                self.decision,
                service.rules.decide(_question(client, CommandName.UDP, name, address, port)),
            )
            self.decision = decision
            service.notes.decided(before, decision)
            if decision is not None and not decision.allowed:
                return _reason(decision)
            if decision is not None and decision.action is Action.REPORT and not self._reported:
                self._reported = True
                client.log.notice("would-deny", **client.facts(), datagram=f"{name or address}:{port}")
        if address is None:
            return None
        return service.refusal(address) or self._grant(name, address, port)

    def _grant(self, name: str | None, address: Address, port: int) -> str | None:
        """Let hold what the rule says beside, limits and silence; say which limit is reached, if any."""
        service, rule, idle = self._client.service, None, None
        if self.decision is not None:
            rule, idle = self.decision.rule, self.decision.idle
        if service.limits is not None and self._client.holding is not None and rule is not None:
            try:
                question = _question(self._client, CommandName.UDP, name, address, port)
                service.limits.claim_more(self._client.holding, question, rule)
            except Exceeded as exceeded:
                return f"limit {exceeded}"
        self._silence = max(self._silence, service.listen.timeouts.udp_idle if idle is None else idle)
        return None

    def silence(self) -> float:
        """For how many seconds the association may be silent: the longest of what it has written to."""
        return self._silence or self._client.service.listen.timeouts.udp_idle

    @property
    def sources(self) -> Sources:
        """Where datagrams go out from, to be asked for each right after it was permitted."""
        service = self._client.service
        if service.rules is None or not service.rules.choose_egress:
            return service.sources
        return RuleSources(lambda: self.decision, service.sources)


def permit_datagrams(client: Client, asked: Asked) -> Datagrams:
    """Count an association towards its limits, which raises Ended, and return what judges its datagrams."""
    if client.service.limits is not None:
        _claim(client, client.service.limits, _about(client, asked, None))
    return Datagrams(client)


def refused(client: Client, reply: Reply, cause: Cause, hint: str) -> Ended:
    """The end of a request that failed or was denied; without an answer where a rule says so."""
    ended = client.refusal(reply, cause, hint)
    if cause is Cause.DENIED and client.decision is not None and client.decision.action is Action.DROP:
        client.reply = None
        ended.answer = b""
    return ended


def _reason(decision: Decision) -> str:
    return "no rule allows it" if decision.rule is None else f"rule {decision.rule}"


def _about(client: Client, asked: Asked, address: Address | None) -> Question:
    name = asked.host if isinstance(asked.host, str) else None
    return _question(client, COMMANDS[asked.command], name, address, asked.port)


def _question(
    client: Client, command: CommandName, name: str | None, address: Address | None, port: int
) -> Question:
    return Question(
        client.peer, client.user, client.service.listen.name, command, name, address, port, client.groups
    )
