"""A decision with all that led to it, as `forksocksctl explain` tells it, of a file or of a running server.

Nothing is looked up here: of a name that is not refused as such the addresses are asked for, and the question
is put again with them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from forksocks.access import cases
from forksocks.access.cases import Judge, Verdict
from forksocks.access.limits import Fill
from forksocks.access.rules import Question
from forksocks.config.model import Action, Address, Case, CommandName, Config

Step = tuple[str, str, str]  # what was asked, of what, the answer
# How full the limits are that hold for a question and the rule that allows it.
Fills = Callable[[Question, str | None], Iterable[Fill]]


def no_limits(_question: Question, _rule: str | None) -> Iterable[Fill]:
    """Of who has no running server to look at."""
    return ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision and its steps. unknown: the name whose addresses it depends on; "" of the last word."""

    verdict: Verdict
    steps: Sequence[Step]
    unknown: str = ""

    def named(self, case: Case) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "request": cases.describe(case), "decision": self.verdict.action.value, "why": self.verdict.why,
            "unknown": self.unknown,
            "steps": [dict(zip(("kind", "of", "answer"), step, strict=True)) for step in self.steps],
        }  # fmt: skip


def explain(
    judge: Judge, config: Config, case: Case, found: Sequence[Address] | None = None, fills: Fills = no_limits
) -> Explanation:
    """Return the decision on a case and the steps that led to it. found: the addresses of its name."""
    objection = judge.objection(case)
    answer = f"not admitted: {objection}" if objection else "admitted"
    steps: list[Step] = [("client", str(case.client or "unix"), answer)]
    question = judge.question(case, None)
    verdict = judge.decide(case)
    addresses = [] if question.address is None else [question.address]
    if question.name is not None and verdict.allowed:
        if found is None:
            return Explanation(verdict, [*steps, *_rules(judge, question)], question.name)
        addresses = [*found]
    if not addresses:
        return Explanation(verdict, [*steps, *_rules(judge, question)])
    verdicts = []
    for address in addresses:
        asked = dataclasses.replace(question, address=address)
        steps += _rules(judge, asked)
        verdicts.append(judge.decide(dataclasses.replace(case, address=address)))
        steps.append(("address", str(address), str(verdicts[-1])))
        if verdicts[-1].allowed:
            steps += _terms(judge, config, asked)
    allowed = [number for number, each in enumerate(verdicts) if each.allowed]
    if not allowed:
        return Explanation(verdicts[0], steps)
    first = dataclasses.replace(question, address=addresses[allowed[0]])
    verdict, of_limits = _within_limits(verdicts[allowed[0]], first, fills)
    return Explanation(verdict, [*steps, *of_limits])


def _within_limits(verdict: Verdict, question: Question, fills: Fills) -> tuple[Verdict, Sequence[Step]]:
    """What the limits make of what is allowed: it counts once, for the first address that may be dialled."""
    found = list(fills(question, verdict.why))
    steps = [("limit", each.limit, str(each) + (": full" if each.is_full else "")) for each in found]
    full = any(each.is_full for each in found)
    return Verdict(Action.DENY, "@limit") if full else verdict, steps


def _rules(judge: Judge, question: Question) -> Iterator[Step]:
    for rule, against in judge.rules.tried(question):
        why = f"no: {', '.join(against)}" if against else rule.action.value
        yield "rule", rule.name, why


def _terms(judge: Judge, config: Config, question: Question) -> Iterator[Step]:
    """How what is allowed is served: where it goes out from, and what its rule says beside."""
    assert question.address
    version = question.address.version
    decision = judge.rules.decide(question) if judge.rules else None
    sources = {each.version: each for each in config.egress.addresses} | dict(
        decision.egress if decision else {}
    )
    yield "egress", str(sources.get(version, "any")), "own address of outgoing connections"
    if decision is not None and decision.interface is not None:
        yield "egress", decision.interface, "interface of outgoing connections"
    if decision is not None and decision.idle is not None:
        what = "association" if question.command is CommandName.UDP else "tunnel"
        yield "idle", f"{decision.idle:g}s", f"silence that ends the {what}"
    if decision is not None and decision.log is not None:
        yield "log", decision.log.name.lower(), "level of its lines"
