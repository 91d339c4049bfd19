"""`forksocksctl explain`: would this be allowed, and why?

Asks what a session would ask, in the same order, of the configuration file on this machine or of a running
server, which also knows how full its limits are; nothing is connected to, but a name is looked up.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forksocks.access import cases, explanation, policy, users_edit
from forksocks.access.users import GROUPS_FORM, UsersError, read_groups
from forksocks.config import rule_values
from forksocks.config.load import ConfigError, load
from forksocks.config.model import Action, Address, Case, CommandName, Config, Families
from forksocks.config.values import Wrong, readable
from forksocks.host import container
from forksocks.host.routes import Routes
from forksocks.traffic.resolve import LookupFailed, look_up
from forksocks.verbs import asking
from forksocks.verbs.verb import DONE, REFUSED, WrongUsage

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

DEFAULT_FILE = Path("/etc/forksocks/forksocks.toml")

_DESCRIPTION = """\
Say whether a request would be allowed: each rule that is tried and why it fits
or not, each address of the destination, and what the egress guard says; of a
running server how full each limit is that would hold, too.
"""

_EXAMPLES = """\
examples:
  forksocksctl explain --from 10.1.2.3 --user alice --to example.org:443
  forksocksctl explain -c forksocks.toml --from 10.1.2.3 --to 10.9.9.9:25 --json
  forksocksctl explain --running --from 10.1.2.3 --user alice --to example.org:443

exit status: 0 allowed, 1 denied, 2 wrong usage or configuration, 3 no server answers
"""

# Asks with the addresses of a name, None as long as they are not known.
Ask = Callable[[Sequence[Address] | None], dict[str, Any]]


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
    add("--running", action="store_true", help="ask a running server, which knows how full its limits are")
    add("--from", dest="client", metavar="ADDRESS", help="the client; without it one of a unix socket")
    add("--user", metavar="NAME", help="who has authenticated")
    add("--groups", metavar="GROUP,...", help="the user's groups; default: those of the users file")
    add("--to", required=True, metavar="HOST:PORT", help="what is asked for")
    add("--listen", metavar="NAME", help="the listener; default: the first")
    asking.add_options(made)
    how = made.add_mutually_exclusive_group()
    how.add_argument("--udp", dest="command", action="store_const", const=CommandName.UDP, help="a datagram")
    how.add_argument("--bind", dest="command", action="store_const", const=CommandName.BIND, help="a BIND")
    made.set_defaults(run=run, command=CommandName.CONNECT)


def run(arguments: argparse.Namespace) -> int:
    """Print the explanation; return DONE or REFUSED, as the decision is."""
    case = _case(arguments)
    with _asked_of_server(arguments) if arguments.running else _asked_of_file(arguments, case) as ask:
        found = ask(None)
        if found["unknown"]:
            try:
                found = ask(look_up(found["unknown"], Families(found["families"])))
            except LookupFailed as error:
                step = {"kind": "name", "of": found["unknown"], "answer": str(error)}
                found |= {"decision": "deny", "why": "dns-failed", "steps": [*found["steps"], step]}
    for key in ("unknown", "families"):
        del found[key]
    _show(found, arguments.json)
    return DONE if Action(found["decision"]).allows else REFUSED


@contextlib.contextmanager
def _asked_of_file(arguments: argparse.Namespace, case: Case) -> Iterator[Ask]:
    """Asks a configuration file on this machine, by its rules."""
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
    judge = cases.Judge(config, rules, routes, container.container_sign(os.environ) is not None)

    def ask(found: Sequence[Address] | None) -> dict[str, Any]:
        told = explanation.explain(judge, config, case, found)
        return told.named(case) | {"families": config.dns.families.value}

    try:
        yield ask
    finally:
        routes.close()


@contextlib.contextmanager
def _asked_of_server(arguments: argparse.Namespace) -> Iterator[Ask]:
    """Asks a running server, by its rules and with how full its limits are."""
    if arguments.config is not None:
        raise WrongUsage("--running asks a server, -c a file: leave out one of them")
    _said_groups(arguments.groups)
    said = {
        "client": arguments.client, "user": arguments.user, "groups": arguments.groups, "to": arguments.to,
        "listen": arguments.listen, "command": arguments.command.value,
    }  # fmt: skip

    def ask(found: Sequence[Address] | None) -> dict[str, Any]:
        about = said | {"addresses": None if found is None else ",".join(map(str, found))}
        filters = {key: value for key, value in about.items() if value is not None}
        (told,) = asking.ask(arguments.socket, "explain", filters)
        return told

    yield ask


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


def _said_groups(said: str | None) -> tuple[str, ...]:
    groups = read_groups(said) if said else ()
    if groups is None:
        raise WrongUsage(f"--groups: {GROUPS_FORM}")
    return groups


def _groups(said: str | None, case: Case, config: Config) -> tuple[str, ...]:
    """The groups that the user is in, as it was said or else as the users file has them."""
    if said is not None:
        return _said_groups(said)
    needed = any(rule.groups for rule in config.rule)
    if case.user is None or config.auth.users is None or not needed:
        return ()
    try:
        return users_edit.users(config.auth.users).get(os.fsencode(case.user), ())
    except UsersError as error:
        raise WrongUsage(f"{error}; or say with --groups which ones the user is in") from None


def _show(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    width = max(len(step["of"]) for step in found["steps"])
    steps = [f"  {step['kind']:<8} {step['of']:<{width}}  {step['answer']}" for step in found["steps"]]
    decision = " ".join(filter(None, (found["decision"], found["why"])))
    sys.stdout.write("\n".join([found["request"], *steps, f"decision: {decision}", ""]))
