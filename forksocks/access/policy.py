"""The configured rules, made ready: sets put in place, files of entries read, everything compiled.

A file of entries has one to a line; "#" begins a comment. It is read when rules are made, at the start and at
each reload.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from forksocks.access.rules import Rule, Rules
from forksocks.config import rule_values, values
from forksocks.config.files import content
from forksocks.config.model import Config, Network, Ports, RuleConfig, Selector
from forksocks.config.rule_checks import BUILT_IN
from forksocks.config.values import Wrong, readable

MOST_BYTES = 64 << 20  # of one file of entries: more is a mistake
MOST_SHOWN = 10  # wrong lines of a file that are told


class PolicyError(Exception):
    """Rules that cannot be made; `problems` are (dotted key, what is wrong)."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(text for _, text in problems))
        self.problems = tuple(problems)


def compiled(config: Config) -> Rules:
    """Return the rules of a configuration. Raises PolicyError with all that is wrong with its files."""
    made = _Making(config)
    rules = [made.rule(number, rule) for number, rule in enumerate(config.rule)]
    if made.problems:
        raise PolicyError(made.problems)
    return Rules(rules)


class _Making:
    """One compilation: what has been read, what is wrong so far."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.problems: list[tuple[str, str]] = []
        self._read: dict[tuple[str, Callable[[str], Any]], list[Any]] = {}

    def rule(self, number: int, rule: RuleConfig) -> Rule:
        """One rule with everything that it refers to in it."""

        def items(key: str, parse: Callable[[str], Any]) -> Iterator[Any]:
            return self.items(f"rule.{number}.{key}", key, getattr(rule, key), parse)

        hosts = list(items("to", _host))
        return Rule(
            rule.name,
            rule.action,
            clients=tuple(items("clients", _client)),
            users=tuple(name.encode() for name in items("users", str)),
            groups=tuple(items("groups", str)),
            listeners=rule.listen,
            commands=rule.commands,
            to_networks=tuple(each for each in hosts if not isinstance(each, str) or each.startswith("@")),
            to_names=tuple(each for each in hosts if isinstance(each, str) and not each.startswith("@")),
            ports=tuple(each for each in items("ports", str) if isinstance(each, Ports)),
            times=rule.times,
            egress=rule.egress,
            interface=rule.interface,
            idle=rule.idle,
            log=rule.log,
        )

    def items(
        self, dotted: str, key: str, written: Sequence[Any], parse: Callable[[str], Any]
    ) -> Iterator[Any]:
        """The entries of one list, those of its sets and files among them."""
        for item in written:
            if isinstance(item, str) and item.startswith("@") and item not in BUILT_IN:
                yield from self.items(dotted, key, getattr(self.config.sets[item[1:]], key), parse)
            elif isinstance(item, str) and item.startswith("file:"):
                yield from self.entries(dotted, item[5:], parse)
            else:
                yield item

    def entries(self, dotted: str, path: str, parse: Callable[[str], Any]) -> list[Any]:
        """The entries of a file, read once for every way in which they are read."""
        known = self._read.get((path, parse))
        if known is None:
            known = self._read[path, parse] = list(self._lines(dotted, path, parse))
        return known

    def _lines(self, dotted: str, path: str, parse: Callable[[str], Any]) -> Iterator[Any]:
        shown, wrong = readable(path), 0
        try:
            raw = content(Path(path), MOST_BYTES)
        except OSError as error:
            self.problems.append((dotted, f"{shown} cannot be read: {error.strerror}"))
            return
        if len(raw) > MOST_BYTES:
            self.problems.append((dotted, f"{shown} is longer than {MOST_BYTES >> 20} MiB"))
            return
        for number, line in enumerate(raw.decode("utf-8", "backslashreplace").splitlines(), 1):
            text = line.partition("#")[0].strip()
            try:
                if text:
                    yield parse(text)
            except Wrong as error:
                wrong += 1
                if wrong <= MOST_SHOWN:
                    self.problems.append((dotted, f"{shown}:{number}: {error}"))
        if wrong > MOST_SHOWN:
            self.problems.append((dotted, f"{shown}: and {wrong - MOST_SHOWN} more lines like these"))


def _client(text: str) -> Selector:
    return values.network(text, 'a network as "192.0.2.0/24"')


def _host(text: str) -> str | Network:
    return rule_values.entry(text, 'a network, a name or ".domain"')
