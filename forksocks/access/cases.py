"""What would be decided on a request, layer by layer, without a client that makes it.

The tests in the configuration and `forksocksctl explain` ask the same things in the same order as a session:
is the client admitted, what do the rules say, may the address be dialled.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from forksocks.access.clients import Clients
from forksocks.access.guard import EgressGuard
from forksocks.access.networks import normalised
from forksocks.access.rules import Question, Rules
from forksocks.config.model import Action, Address, AuthMethod, Case, Config, Expectation, ListenConfig
from forksocks.config.rule_values import split_destination
from forksocks.host.routes import Routes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a request comes to, and why: a rule's name, a set of the guard, "@clients"; None for no rule."""

    action: Action
    why: str | None

    @property
    def allowed(self) -> bool:
        """Whether the client gets what it asks for."""
        return self.action.allows

    def __str__(self) -> str:
        """As a test expects it: `deny no-smtp`."""
        return f"{self.action.value} {self.why}" if self.why else self.action.value


class Judge:
    """Judges cases by one configuration on this machine."""

    def __init__(self, config: Config, rules: Rules, routes: Routes, in_container: bool) -> None:
        self.rules = rules
        self.guard = EgressGuard(config.access, routes)
        self._config = config
        self._clients = {
            with_password: Clients(config.access, with_password, in_container, routes)
            for with_password in (False, True)
        }

    def listener(self, case: Case) -> ListenConfig:
        """The listener that the client came to."""
        listeners = self._config.listen
        return next((each for each in listeners if each.name == case.listen), listeners[0])

    def objection(self, case: Case) -> str | None:
        """Why the listener does not serve this client, by password where there is a user; None if it does."""
        methods = self.listener(case).auth
        if not any((method is AuthMethod.NONE) == (case.user is None) for method in methods):
            return "its listener wants a password" if case.user is None else "its listener knows no users"
        admitted = self._clients[case.user is not None].admits(case.client)
        return None if admitted else "[access] allow_from does not admit this client"

    def question(self, case: Case, address: Address | None) -> Question:
        """The case as the rules are asked about it."""
        host, port = split_destination(case.to)
        name = host if isinstance(host, str) else None
        if name is None and not isinstance(host, str):
            address = host.network_address
        user = None if case.user is None else case.user.encode()
        known = None if address is None else normalised(address)
        client = None if case.client is None else normalised(case.client)
        return Question(client, user, self.listener(case).name, case.command, name, known, port, case.groups)

    def decide(self, case: Case) -> Verdict:
        """The decision on a case. A name without an address is judged as far as a name can be."""
        if self.objection(case):
            return Verdict(Action.DENY, "@clients")
        return self.judged(self.question(case, case.address))

    def judged(self, question: Question) -> Verdict:
        """What the rules, and of an address the guard, say to one whom the listener serves."""
        verdict = Verdict(Action.ALLOW, None)
        if self.rules:
            decision = self.rules.decide(question)
            if decision is not None:
                verdict = Verdict(decision.action, decision.rule)
                if not decision.allowed:
                    return verdict
        opener = None if question.address is None else self.guard.refusal(question.address)
        return verdict if opener is None else Verdict(Action.DENY, opener)


def failures(judge: Judge, tests: tuple[Expectation, ...]) -> Iterator[tuple[int, str]]:
    """The tests that come out otherwise: number, and what is wrong. A bare action expects any reason."""
    for number, test in enumerate(tests):
        verdict = judge.decide(test.given)
        if test.expect not in (str(verdict), verdict.action.value):
            objection = judge.objection(test.given)
            why = f" ({objection})" if objection else ""
            yield number, f"expected {test.expect}, got {verdict}{why}: {describe(test.given)}"


def describe(case: Case) -> str:
    """`alice from 10.1.2.3 to example.org:443 (connect)`."""
    who = (case.user or "anyone") + (f" ({', '.join(case.groups)})" if case.groups else "")
    address = f" at {case.address}" if case.address else ""
    return f"{who} from {case.client or 'a unix socket'} to {case.to}{address} ({case.command.value})"
