"""A configuration as dotted keys and their values in TOML, which can be compared: file against running.

A listener, and whatever else has a name, is called by it, so that one more or another order changes nothing
else; rules keep their order by a key that lists them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forksocks.config import schema, values
from forksocks.config.model import Config

NOT_SET = "not set"


def flat(config: Config) -> dict[str, str]:
    """Every key, also of those that are not set."""
    found: dict[str, str] = {}
    for name in schema.sections():
        if name == "listen":
            for listen in config.listen:
                found |= _keys(f"listen.{listen.name}", listen)
        elif name != "timeouts":  # each listener has its own
            found |= _keys(name, getattr(config, name))
    for name in schema.named():
        for key, each in getattr(config, name).items():
            found |= _keys(f"{name}.{key}", each)
    for name in schema.rows():
        rows = getattr(config, name)
        names = [str(getattr(each, "name", "") or number) for number, each in enumerate(rows, 1)]
        found[f"{name} order"] = " ".join(names) or NOT_SET
        for row, each in zip(names, rows, strict=True):
            found |= _keys(f"{name}.{row}", each)
    return found


def differences(old: dict[str, str], new: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Keys whose values differ, with both; a key that one of them has not is not set there."""
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key, NOT_SET), new.get(key, NOT_SET)
        if before != after:
            yield key, before, after


def _keys(prefix: str, section: Any) -> dict[str, str]:
    kind: type = type(section)
    found = {f"{prefix}.{name}": _shown(getattr(section, name)) for name in schema.keys(kind)}
    for table in schema.tables(kind):
        found |= _keys(f"{prefix}.{table}", getattr(section, table))
    return found


def _shown(value: object) -> str:
    return NOT_SET if value is None else values.show(value)
