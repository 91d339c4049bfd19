"""What is allowed in a rule list and yet hardly meant: warnings for `--check`.

Rules that can never be reached because an earlier one takes everything that they would; sets that nobody
names; rules that let the whole internet in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any

from forksocks.access import masks
from forksocks.access.networks import NetworkSet, merge
from forksocks.access.rules import Rule, Rules
from forksocks.config.model import AuthMethod, Config, Network
from forksocks.config.rule_checks import references
from forksocks.config.sets import ANY

Oddity = tuple[str, str]  # dotted key, what is odd about it


def warnings(config: Config, rules: Rules) -> Iterator[Oddity]:
    """Everything odd, rule by rule."""
    yield from _unreachable(rules.rules)
    used = {reference[1:] for _, _, reference in references(config)}
    for name in config.sets:
        if name not in used:
            yield f"sets.{name}", "is used by no rule"
    yield from _without_effect(config)
    for number, rule in enumerate(rules.rules):
        if _lets_everyone_in(config, rule):
            yield f"rule.{number}", f'"{rule.name}" allows anyone on the internet, without a password'


def _without_effect(config: Config) -> Iterator[Oddity]:
    """Words about who has authenticated, where nobody can, and about who need not, where nobody has to."""
    proves = any(method is not AuthMethod.NONE for each in config.listen for method in each.auth)
    for number, rule in enumerate(config.rule):
        if rule.groups and config.auth.users is None:
            yield (
                f"rule.{number}.groups",
                f'"{rule.name}" can never match: there is no [auth] users with groups',
            )
        if rule.users and not proves:
            yield f"rule.{number}.users", f'"{rule.name}" can never match: no listener asks who somebody is'
    if config.access.without_password is not None:
        both = any(AuthMethod.NONE in each.auth and len(each.auth) > 1 for each in config.listen)
        if not both:
            yield "access.without_password", 'has no effect: no listener has "none" beside another method'


def _unreachable(rules: Sequence[Rule]) -> Iterator[Oddity]:
    reaches = [_Reach(rule) for rule in rules]
    for number, later in enumerate(reaches):
        earlier = next((each for each in reaches[:number] if each.covers(later)), None)
        if earlier is not None:
            text = f'"{later.rule.name}" can never match: "{earlier.rule.name}" takes everything before it'
            yield f"rule.{number}", text


class _Reach:
    """What a rule fits, made to be compared with what another one does."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    @cached_property
    def clients(self) -> NetworkSet:
        return NetworkSet(each for each in self.rule.clients if not isinstance(each, str))

    @cached_property
    def networks(self) -> NetworkSet:
        return NetworkSet(each for each in self.rule.to_networks if not isinstance(each, str))

    def covers(self, other: _Reach) -> bool:
        """Whether everything that fits `other` fits this one; the cheap questions first."""
        mine, theirs = self.rule, other.rule
        plain = ("users", "groups", "listeners", "commands", "times")
        return (
            all(_contains(getattr(mine, key), getattr(theirs, key)) for key in plain)
            and self._covers_ports(theirs)
            and self._covers_clients(theirs)
            and (not mine.has_destination or (theirs.has_destination and self._covers_hosts(theirs)))
        )

    def _covers_ports(self, other: Rule) -> bool:
        if not self.rule.ports:
            return True
        spans = merge((each.first, each.last + 1) for each in self.rule.ports)
        return bool(other.ports) and all(
            any(start <= each.first and each.last < end for start, end in spans) for each in other.ports
        )

    def _covers_clients(self, other: Rule) -> bool:
        wanted = self.rule.clients
        if not wanted or ANY in wanted:
            return True
        return bool(other.clients) and _inside(other.clients, wanted, self.clients)

    def _covers_hosts(self, other: Rule) -> bool:
        if ANY not in self.rule.to_networks and not _inside(
            other.to_networks, self.rule.to_networks, self.networks
        ):
            return False
        names = masks.Names([self.rule.to_names])
        # ".example.com" is below ".com", and is covered by itself.
        return all(each in self.rule.to_names or names.fitting(each) for each in other.to_names)


def _contains(mine: Collection[Any], theirs: Collection[Any]) -> bool:
    return not mine or (bool(theirs) and set(theirs) <= set(mine))


def _inside(theirs: Sequence[str | Network], mine: Sequence[str | Network], networks: NetworkSet) -> bool:
    return all(each in mine if isinstance(each, str) else networks.holds(each) for each in theirs)


def _lets_everyone_in(config: Config, rule: Rule) -> bool:
    """Whether an allowing rule is for every address, on a listener that admits every address for nothing."""
    if not rule.action.allows or rule.users or rule.groups or config.access.open_proxy:
        return False
    reached = [each for each in config.listen if each.name in (rule.listeners or (each.name,))]
    without_password = any(AuthMethod.NONE in each.auth for each in reached)
    admitted = _is_everyone(config.access.allow_from or ()) and _is_everyone(rule.clients or (ANY,))
    return without_password and admitted


def _is_everyone(selectors: Sequence[str | Network]) -> bool:
    return any(each == ANY or (not isinstance(each, str) and each.prefixlen == 0) for each in selectors)
