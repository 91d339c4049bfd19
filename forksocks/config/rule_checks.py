"""Rules, sets and tests that name what is not there, or the same thing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from forksocks.config.model import Config, Per
from forksocks.config.near import did_you_mean
from forksocks.config.sets import ATTACHED, SELF, SETS
from forksocks.config.values import shown

# The lists that rules and sets have in common: "@name" in one stands for the set's list of the same key.
LISTS = ("clients", "users", "groups", "to", "ports")
# Only lists of addresses know the sets that are built in, and of these only what does not change under way.
WITH_BUILT_IN = frozenset({"clients", "to"})
BUILT_IN = SETS.keys() - {SELF, ATTACHED}


class Conflict(NamedTuple):
    """What is wrong with `key` (dotted); `shown` is the key as an error names it."""

    key: str
    shown: str
    text: str


def references(config: Config) -> Iterator[tuple[str, str, str]]:
    """Every "@name" in a list of a rule: the dotted key, the list's key, and the name with its "@"."""
    for number, rule in enumerate(config.rule):
        for key in LISTS:
            for item in getattr(rule, key):
                if isinstance(item, str) and item.startswith("@"):
                    yield f"rule.{number}.{key}", key, item


def sets_exist(config: Config) -> Iterator[Conflict]:
    """A set that is named has to be there, and to have the list that is wanted of it."""
    for dotted, key, reference in references(config):
        if key in WITH_BUILT_IN and reference in BUILT_IN:
            continue
        label, own = f"[rule] {key}", config.sets.get(reference[1:])
        if reference in SETS:
            why = "changes with the machine" if key in WITH_BUILT_IN else "is a set of addresses"
            yield Conflict(dotted, label, f"cannot have {reference}, which {why}")
        elif own is None:
            hint = did_you_mean(reference, [*(f"@{name}" for name in config.sets), *BUILT_IN])
            yield Conflict(dotted, label, f"names {reference}, and there is no such set{hint}")
        elif not getattr(own, key):
            yield Conflict(dotted, label, f"names {reference}, and [sets.{reference[1:]}] has no {key}")


def sets_are_plain(config: Config) -> Iterator[Conflict]:
    """Sets do not name each other, and do not take the names of those that are built in."""
    for name, each in config.sets.items():
        section = f"[sets.{name}]"
        if f"@{name}" in SETS:
            yield Conflict(f"sets.{name}", section, f"@{name} is built in: take another name")
        for key in LISTS:
            for item in getattr(each, key):
                if isinstance(item, str) and item.startswith("@") and item not in BUILT_IN:
                    yield Conflict(f"sets.{name}.{key}", f"{section} {key}", f"cannot have {item}")


def rules_have_names_of_their_own(config: Config) -> Iterator[Conflict]:
    """A rule's name is what the log knows it by."""
    seen: set[str] = set()
    for number, rule in enumerate(config.rule):
        if rule.name in seen:
            text = f"{shown(rule.name)} is taken by another rule"
            yield Conflict(f"rule.{number}.name", "[rule] name", text)
        seen.add(rule.name)


def listeners_exist(config: Config) -> Iterator[Conflict]:
    """Rules and tests name listeners that are there."""
    known = [each.name for each in config.listen]
    named = [(f"rule.{n}.listen", name) for n, rule in enumerate(config.rule) for name in rule.listen]
    named += [(f"test.{n}.given.listen", t.given.listen) for n, t in enumerate(config.test) if t.given.listen]
    for dotted, name in named:
        if name not in known:
            section, _, key = dotted.split(".", 2)
            text = f"there is no listener {shown(name)}{did_you_mean(name, known)}"
            yield Conflict(dotted, f"[{section}] {key}", text)


def limits_exist(config: Config) -> Iterator[Conflict]:
    """Rules name limits that are there."""
    for number, rule in enumerate(config.rule):
        for name in rule.limits:
            if name not in config.limit:
                text = f"there is no limit {shown(name)}{did_you_mean(name, config.limit)}"
                yield Conflict(f"rule.{number}.limits", "[rule] limits", text)


def limits_limit(config: Config) -> Iterator[Conflict]:
    """A limit without a number would hold nobody back, and one per rule needs rules."""
    for name, each in config.limit.items():
        if (each.connections, each.associations, each.new) == (None, None, None):
            text = "limits nothing: set connections, associations or new"
            yield Conflict(f"limit.{name}", f"[limit.{name}]", text)
        if each.per is Per.RULE and not config.rule:
            yield Conflict(
                f"limit.{name}.per", f"[limit.{name}] per", '"rule" needs rules: there is no [[rule]]'
            )


def one_egress_address_a_family(config: Config) -> Iterator[Conflict]:
    """Which of two would be taken?"""
    places = [("egress.addresses", "[egress] addresses", config.egress.addresses)]
    places += [(f"rule.{n}.egress", "[rule] egress", rule.egress) for n, rule in enumerate(config.rule)]
    for dotted, label, addresses in places:
        for version, times in Counter(each.version for each in addresses).items():
            if times > 1:
                text = f"has {times} IPv{version} addresses: one of each family is possible"
                yield Conflict(dotted, label, text)


def denials_have_no_terms(config: Config) -> Iterator[Conflict]:
    """What is refused goes out from nowhere, and is never silent."""
    for number, rule in enumerate(config.rule):
        for key in ("egress", "interface", "idle"):
            if getattr(rule, key) and not rule.action.allows:
                text = f"has no effect: {shown(rule.name)} allows nothing"
                yield Conflict(f"rule.{number}.{key}", f"[rule] {key}", text)


CHECKS = (
    denials_have_no_terms,
    limits_exist,
    limits_limit,
    sets_exist,
    sets_are_plain,
    rules_have_names_of_their_own,
    listeners_exist,
)
