"""The tables of a document as the classes of `model` want them; flags go first.

No key is known here by its spelling: which there are, and how each is parsed, `schema` reads off the classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forksocks.config import schema, values
from forksocks.config.findings import Findings, dotted, label
from forksocks.config.lines import KeyPath
from forksocks.config.problems import DEFAULT, Kind, Origin
from forksocks.config.source import Source
from forksocks.config.unknown import meant, meant_section


@dataclass(frozen=True, slots=True)
class Flag:
    """A value from the command line: texts as they were typed, or True; `name` is for errors: "--workers"."""

    name: str
    value: str | bool | list[str]


class Tables:
    """Reads one document; what it finds out beside the values goes to `findings`."""

    def __init__(self, file: Source, flags: Mapping[str, Flag], here: Path, findings: Findings) -> None:
        self._file = file
        self._flags = flags
        self._here = here
        self._findings = findings

    def refuse_unknown(self, path: KeyPath, table: Mapping[str, object], known: Mapping[str, object]) -> None:
        """A problem for every key that is not known at `path`, with what may have been meant."""
        for key, value in table.items():
            if key not in known:
                is_section = not path and isinstance(value, (dict, list))
                what, hint = ("section", meant_section) if is_section else ("key", meant)
                where = f"{label(path)} " if path else ""
                text = f"{where}unknown {what} {values.shown(key)}{hint(key, known)}"
                self._findings.tell(self._file.where((*path, key)), "", text)

    def section(self, name: str, kind: type) -> Any:
        """A table that comes once."""
        return self.row((name,), kind, self.table((name,), self._file.document.get(name, {})))

    def rows(self, name: str, kind: type) -> tuple[Any, ...]:
        """All [[tables]] of a name, without those that lack what they need."""
        found = [self.row((name, number), kind, table) for number, table in enumerate(self.several(name))]
        return tuple(each for each in found if each is not None)

    def named(self, name: str, kind: type) -> Mapping[str, Any]:
        """All tables in a [section] whose keys are names."""
        made: dict[str, Any] = {}
        for key, value in self.table((name,), self._file.document.get(name, {})).items():
            try:
                values.name(key)
            except values.Wrong as error:
                self._findings.wrong_at((name, key), str(error))
            each = self.row((name, key), kind, self.table((name, key), value))
            if each is not None:
                made[key] = each
        return made

    def row(self, path: KeyPath, kind: type, table: Mapping[str, object]) -> Any:
        """One table whose keys may be required; None, and a problem, if such a key is missing or wrong."""
        found = self.fields(path, kind, table)
        for key, inner in schema.tables(kind).items():
            if key in table or not schema.required(inner):
                found[key] = self.row((*path, key), inner, self.table((*path, key), table.get(key, {})))
        needed = schema.required(kind)
        for key in needed:
            if key not in table:
                self._findings.wrong_at(path, f"needs {key}")
        return kind(**found) if all(found.get(key) is not None for key in needed) else None

    def fields(self, path: KeyPath, kind: type, table: Mapping[str, object]) -> dict[str, Any]:
        """The values of a section's keys that were given and are right; notes origins of all."""
        keys = schema.keys(kind)
        self.refuse_unknown(path, table, {**keys, **schema.tables(kind)})
        found: dict[str, Any] = {}
        origins = self._findings.origins
        for name, key in keys.items():
            at = dotted((*path, name))
            flag = self._flags.get(at)
            origins.setdefault(at, DEFAULT)
            try:
                if flag is not None:
                    origins[at] = Origin(Kind.OPTION, flag.name)
                    found[name] = key.parse(_as_toml(key, flag.value), self._here)
                elif name in table:
                    origins[at] = self._file.where((*path, name))
                    found[name] = key.parse(table[name], self._file.base)
            except values.Wrong as error:
                self._findings.wrong_value((*path, name), error)
        return found

    def table(self, path: KeyPath, value: object) -> Mapping[str, object]:
        """`value` if it is a table, else an empty one and a problem."""
        if isinstance(value, dict):
            return value
        self._findings.wrong_at(path, f"must be a table, not {values.shown(value)}")
        return {}

    def several(self, name: str) -> list[Mapping[str, object]]:
        """The [[tables]] of a name."""
        value = self._file.document.get(name, [])
        if isinstance(value, dict):
            self._findings.wrong_at((name,), f"must be written [[{name}]]: there may be several")
            return []
        if not isinstance(value, list):
            text = f"must be a table, written [[{name}]], not {values.shown(value)}"
            self._findings.wrong_at((name,), text)
            return []
        return [self.table((name, number), each) for number, each in enumerate(value)]


def _as_toml(key: schema.Key, value: str | bool | list[str]) -> object:
    """What was typed in the shape that TOML would have given: numbers without quotes, lists as lists."""
    if not isinstance(value, str):
        return value
    if key.listed:
        return [each.strip() for each in value.split(",") if each.strip()]
    return int(value) if key.number and re.fullmatch(r"-?[0-9]{1,9}", value) else value
