"""`forksocksctl explain`: would this be allowed, and why?

Asks what a session would ask, in the same order, of the configuration file on this machine; nothing is
connected to, but a name is looked up.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forksocks.access import cases, policy, users_edit
from forksocks.access.rules import Question
from forksocks.access.users import GROUPS_FORM, UsersError, read_groups
from forksocks.config import rule_values
from forksocks.config.load import ConfigError, load
from forksocks.config.model import Action, Case, CommandName, Config
from forksocks.config.values import Wrong, readable
from forksocks.host import container
from forksocks.host.routes import Routes
from forksocks.traffic.resolve import LookupFailed, look_up
from forksocks.verbs.verb import DONE, REFUSED, WrongUsage

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

DEFAULT_FILE = Path("/etc/forksocks/forksocks.toml")

_DESCRIPTION = """\
Say whether a request would be allowed: each rule that is tried and why it fits
or not, each address of the destination, and what the egress guard says.
"""

_EXAMPLES = """\
examples:
  forksocksctl explain --from 10.1.2.3 --user alice --to example.org:443
  forksocksctl explain -c forksocks.toml --from 10.1.2.3 --to 10.9.9.9:25 --json

exit status: 0 allowed, 1 denied, 2 wrong usage or configuration
"""

Step = tuple[str, str, str]  # what was asked, of what, the answer


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "explain",
        help="say whether a request would be allowed, and why",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("-c", "--config", metavar="FILE", type=Path, help=f"({DEFAULT_FILE}, or else the defaults)")
    add("--from", dest="client", metavar="ADDRESS", help="the client; without it one of a unix socket")
    add("--user", metavar="NAME", help="who has authenticated")
    add("--groups", metavar="GROUP,...", help="the user's groups; default: those of the users file")
    add("--to", required=True, metavar="HOST:PORT", help="what is asked for")
    add("--listen", metavar="NAME", help="the listener; default: the first")
    add("--json", action="store_true", help="print one object")
    how = made.add_mutually_exclusive_group()
    how.add_argument("--udp", dest="command", action="store_const", const=CommandName.UDP, help="a datagram")
    how.add_argument("--bind", dest="command", action="store_const", const=CommandName.BIND, help="a BIND")
    made.set_defaults(run=run, command=CommandName.CONNECT)


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation; return DONE or REFUSED, as the decision is."""
    case = _case(arguments)
    try:
        config = load(_file(arguments.config), {}).config
        rules = policy.compiled(config)
    except ConfigError as error:
        raise WrongUsage(str(error)) from None
    except policy.PolicyError as error:
        raise WrongUsage("\n".join(text for _, text in error.problems)) from None
    if case.listen is not None and case.listen not in [each.name for each in config.listen]:
        raise WrongUsage(f"there is no listener {readable(case.listen)}")
    case = dataclasses.replace(case, groups=_groups(arguments.groups, case, config))
    routes = Routes()
    try:
        judge = cases.Judge(config, rules, routes, container.container_sign(os.environ) is not None)
        verdict, steps = explain(judge, config, case)
    finally:
        routes.close()
    _show(case, verdict, steps, arguments.json)
    return DONE if verdict.allowed else REFUSED


def _file(asked: Path | None) -> Path | None:
    """The configuration that is asked about; None for the defaults, by which forksocks serves without one."""
    if asked is not None or DEFAULT_FILE.exists():
        return asked or DEFAULT_FILE
    text = f"forksocksctl: {DEFAULT_FILE} is not there: by the defaults; -c FILE asks about another\n"
    sys.stderr.write(text)
    return None


def _case(arguments: argparse.Namespace) -> Case:
    try:
        client = None if arguments.client is None else rule_values.address(arguments.client)
        to = rule_values.destination(arguments.to)
    except Wrong as error:
        raise WrongUsage(str(error)) from None
    return Case(to, client, arguments.user, listen=arguments.listen, command=arguments.command)


def _groups(said: str | None, case: Case, config: Config) -> tuple[str, ...]:
    """The groups that the user is in, as it was said or else as the users file has them."""
    if said is not None:
        groups = read_groups(said) if said else ()
        if groups is None:
            raise WrongUsage(f"--groups: {GROUPS_FORM}")
        return groups
    needed = any(rule.groups for rule in config.rule)
    if case.user is None or config.auth.users is None or not needed:
        return ()
    try:
        return users_edit.users(config.auth.users).get(os.fsencode(case.user), ())
    except UsersError as error:
        raise WrongUsage(f"{error}; or say with --groups which ones the user is in") from None


def explain(judge: cases.Judge, config: Config, case: Case) -> tuple[cases.Verdict, list[Step]]:
    """Return the decision on a case and the steps that led to it; a name is looked up."""
    objection = judge.objection(case)
    answer = f"not admitted: {objection}" if objection else "admitted"
    steps: list[Step] = [("client", str(case.client or "unix"), answer)]
    question = judge.question(case, None)
    addresses = [] if question.address is None else [question.address]
    verdict = judge.decide(case)
    if question.name is not None and verdict.allowed:
        try:
            addresses = look_up(question.name, config.dns.families)
        except LookupFailed as error:
            steps.append(("name", question.name, str(error)))
            return cases.Verdict(Action.DENY, "dns-failed"), steps
    if not addresses:
        return verdict, [*steps, *_rules(judge, question)]
    verdicts = []
    for address in addresses:
        steps += _rules(judge, dataclasses.replace(question, address=address))
        verdicts.append(judge.decide(dataclasses.replace(case, address=address)))
        steps.append(("address", str(address), str(verdicts[-1])))
        if verdicts[-1].allowed:
            steps += _terms(judge, config, dataclasses.replace(question, address=address))
    allowed = [each for each in verdicts if each.allowed]
    return (allowed or verdicts)[0], steps


def _rules(judge: cases.Judge, question: Question) -> Iterator[Step]:
    for rule, against in judge.rules.tried(question):
        why = f"no: {', '.join(against)}" if against else rule.action.value
        yield "rule", rule.name, why


def _terms(judge: cases.Judge, config: Config, question: Question) -> Iterator[Step]:
    """How what is allowed is served: where it goes out from, and what its rule says beside."""
    assert question.address
    version = question.address.version
    decision = judge.rules.decide(question) if judge.rules else None
    sources = {each.version: each for each in config.egress.addresses} | dict(
        decision.egress if decision else {}
    )
    yield "egress", str(sources.get(version, "any")), "own address of outgoing connections"
    rule = next((each for each in config.rule if decision and each.name == decision.rule), None)
    if rule is not None and rule.idle is not None:
        what = "association" if question.command is CommandName.UDP else "tunnel"
        yield "idle", f"{rule.idle:g}s", f"silence that ends the {what}"
    if rule is not None and rule.log is not None:
        yield "log", rule.log.name.lower(), "level of its lines"


def _show(case: Case, verdict: cases.Verdict, steps: list[Step], as_json: bool) -> None:
    if as_json:
        shown: dict[str, Any] = {
            "request": cases.describe(case), "decision": verdict.action.value, "why": verdict.why,
            "steps": [dict(zip(("kind", "of", "answer"), step, strict=True)) for step in steps],
        }  # fmt: skip
        sys.stdout.write(json.dumps(shown) + "\n")
        return
    width = max(len(of) for _, of, _ in steps)
    lines = [cases.describe(case), *(f"  {kind:<8} {of:<{width}}  {answer}" for kind, of, answer in steps)]
    sys.stdout.write("\n".join([*lines, f"decision: {verdict}", ""]))
