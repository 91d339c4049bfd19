"""Which keys there are and how each is parsed: read off the dataclasses of `model`.

A new field there is a new key here by its type alone. `SPECIAL` has the few keys whose type does not say
everything: numbers with limits, names, `workers = "auto"`.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial
from pathlib import Path
from typing import Any

from forksocks.config import binds, model, rule_values, values

# Parses what TOML gave; the path is where relative paths start. Raises values.Wrong.
Parser = Callable[[object, Path], object]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section. `listed`: it takes a list, which the command line writes with commas."""

    name: str
    parse: Parser
    listed: bool
    number: bool


def _plain(parse: Callable[[object], object]) -> Parser:
    return lambda value, _base: parse(value)


def _several_binds(value: object, base: Path) -> tuple[model.Bind, ...]:
    found = values.items(value, partial(binds.binds, base=base))
    return tuple(bind for several in found for bind in several)


def _several(parse: Parser) -> Parser:
    """A list whose items `parse` takes apart; its type does not say how."""
    return lambda value, base: values.items(value, lambda each: parse(each, base))


def _count(least: int, most: int) -> Parser:
    return lambda value, _base: values.count(value, least, most)


OWN = 'an address or a network as "203.0.113.7" or "203.0.113.0/28"'
# A main thread shows itself once a second and takes up to two for its last words.
SHORTEST_HANG = 3.0
# Less than twice what a worker has at its birth would replace it for nothing.
LEAST_MEMORY = 64 << 20

SPECIAL: Mapping[tuple[type, str], Parser] = {
    (model.ServerConfig, "workers"): _plain(values.workers),
    (model.ServerConfig, "threads"): _count(2, 65536),
    (model.ServerConfig, "user"): _plain(values.account),
    (model.ServerConfig, "drain"): _plain(partial(values.duration, least=0.0)),
    (model.ServerConfig, "start_limit"): _plain(partial(values.duration, least=1.0)),
    (model.ServerConfig, "hang"): _plain(partial(values.duration, least=SHORTEST_HANG)),
    (model.ServerConfig, "memory_limit"): _plain(partial(values.size, least=LEAST_MEMORY)),
    (model.ListenConfig, "name"): _plain(values.name),
    (model.ListenConfig, "backlog"): _count(1, 65535),
    (model.AccessConfig, "own"): _several(_plain(partial(values.network, allowed=OWN))),
    (model.RuleConfig, "name"): _plain(values.name),
    (model.RuleConfig, "clients"): _several(rule_values.client),
    (model.RuleConfig, "users"): _several(rule_values.user),
    (model.RuleConfig, "groups"): _several(_plain(rule_values.group)),
    (model.RuleConfig, "listen"): _several(_plain(values.name)),
    (model.RuleConfig, "to"): _several(rule_values.host),
    (model.RuleConfig, "ports"): _several(_plain(rule_values.ports_or_set)),
    (model.RuleConfig, "limits"): _several(_plain(values.name)),
    (model.RuleConfig, "interface"): _plain(rule_values.interface),
    (model.RuleConfig, "log"): _plain(values.level),
    (model.LockoutConfig, "failures"): _count(0, 65535),
    (model.LimitConfig, "connections"): _count(1, 1 << 32),
    (model.LimitConfig, "associations"): _count(1, 1 << 32),
    (model.SetConfig, "clients"): _several(rule_values.client),
    (model.SetConfig, "users"): _several(rule_values.user),
    (model.SetConfig, "groups"): _several(_plain(rule_values.group)),
    (model.SetConfig, "to"): _several(rule_values.host),
    (model.Case, "to"): _plain(rule_values.destination),
    (model.Case, "client"): _plain(rule_values.address),
    (model.Case, "user"): rule_values.user,
    (model.Case, "groups"): _several(_plain(rule_values.plain_group)),
    (model.Case, "address"): _plain(rule_values.address),
    (model.Case, "listen"): _plain(values.name),
    (model.Expectation, "expect"): _plain(rule_values.expected),
    (model.UdpConfig, "ports"): _plain(values.own_ports),
    (model.BindConfig, "ports"): _plain(values.own_ports),
    (model.HelperConfig, "command"): _plain(values.command),
    (model.HelperConfig, "processes"): _count(1, 64),
    (model.HelperConfig, "concurrency"): _count(0, 32),
    (model.HelperConfig, "remember"): _plain(partial(values.duration, least=0.0)),
    (model.HelperConfig, "user"): _plain(values.account),
    (model.AdminConfig, "group"): _plain(values.account),
    (model.AdminConfig, "http"): lambda value, base: binds.one_tcp(value, base),
    (model.LogConfig, "to"): values.log_target,
    (model.LogConfig, "level"): _plain(values.level),
}


@cache
def sections() -> Mapping[str, type]:
    """The tables of the file that come once, and [[listen]], whose keys flags and [timeouts] set as well.

    [timeouts] belongs to no room of its own: it is what every listener starts from.
    """
    once = {name: hint for name, hint in _hints(model.Config).items() if _is_section(hint)}
    return {**once, "listen": model.ListenConfig, "timeouts": model.Timeouts}


@cache
def rows() -> Mapping[str, type]:
    """The tables that may come several times, in order: [[rule]]."""
    return {name: args[0] for name, args in _members(tuple) if name != "listen"}


@cache
def named() -> Mapping[str, type]:
    """The tables whose keys are names that the user chooses, with a table each: [sets]."""
    return {name: args[1] for name, args in _members(Mapping)}


def _members(container: type) -> list[tuple[str, tuple[type, ...]]]:
    hints = typing.get_type_hints(model.Config).items()
    return [(name, typing.get_args(hint)) for name, hint in hints if typing.get_origin(hint) is container]


def required(section: type) -> tuple[str, ...]:
    """The keys and tables of a section that have no default."""
    missing = dataclasses.MISSING
    fields = dataclasses.fields(section)
    return tuple(f.name for f in fields if f.default is missing and f.default_factory is missing)


@cache
def keys(section: type) -> Mapping[str, Key]:
    """The keys of a section's class, tables in it (`timeouts` of a listener) left out."""
    hints = _hints(section)
    return {name: _key(section, name, hint) for name, hint in hints.items() if not _is_section(hint)}


@cache
def tables(section: type) -> Mapping[str, type]:
    """The tables inside a section, by key."""
    return {name: hint for name, hint in _hints(section).items() if _is_section(hint)}


def _is_section(hint: object) -> bool:
    return dataclasses.is_dataclass(hint)


def _hints(section: type) -> Mapping[str, Any]:
    hints = typing.get_type_hints(section)
    return {field.name: hints[field.name] for field in dataclasses.fields(section)}


def _key(section: type, name: str, hint: object) -> Key:
    inner = _without_none(hint)
    parse = SPECIAL.get((section, name)) or _parser(inner)
    return Key(name, parse, listed=typing.get_origin(inner) is tuple, number=inner is int)


def _without_none(hint: object) -> object:
    """`X` of `X | None`; a union of several stays one."""
    members = typing.get_args(hint)
    if type(None) not in members:
        return hint
    return typing.Union[tuple(each for each in members if each is not type(None))]  # noqa: UP007 (made at run time)


def _parser(hint: object) -> Parser:
    """The parser that a type implies; a type that nobody taught us is a KeyError in the first test."""
    if typing.get_origin(hint) is tuple:
        (member, _) = typing.get_args(hint)
        return _several_binds if member is model.Bind else _several(_parser(member))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _plain(partial(values.choice, kind=hint))
    return _BY_TYPE[hint]


_BY_TYPE: Mapping[object, Parser] = {
    str: _plain(values.text),
    bool: _plain(values.flag),
    float: _plain(values.duration),
    Path: values.path,
    model.Address: _plain(values.address),
    model.Ports: _plain(rule_values.ports),
    model.Rate: _plain(rule_values.rate),
    model.Window: _plain(rule_values.window),
    str | model.Network: _plain(values.selector),
}
