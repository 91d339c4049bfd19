"""[[listen]], which is like no other table: addresses of the command line, timeouts that all have in common.

With exactly one [[listen]] the addresses of the command line take the place of its own, its other settings
stay. With several they are one listener of their own: nobody could say which of the file's are meant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forksocks.config import schema, values
from forksocks.config.findings import Findings, dotted
from forksocks.config.lines import KeyPath
from forksocks.config.model import AuthMethod, ListenConfig, Timeouts
from forksocks.config.problems import COMMAND_LINE, DEFAULT, Origin
from forksocks.config.tables import Flag, Tables

DEFAULT_BIND = "127.0.0.1:1080"
DEFAULT_NAME = "default"


class Listeners:
    """Reads them; timeouts: what each starts from. has_users: there is what knows passwords."""

    def __init__(
        self, tables: Tables, findings: Findings, here: Path, timeouts: Timeouts, has_users: bool
    ) -> None:
        self._tables = tables
        self._findings = findings
        self._origins = findings.origins
        self._here = here
        self._timeouts = timeouts
        self._auth = (AuthMethod.PASSWORD,) if has_users else (AuthMethod.NONE,)

    def read(self, given: Flag | None) -> tuple[ListenConfig, ...]:
        """All of them; given: addresses of the command line."""
        tables = self._tables.several("listen")
        found = [self._listener(number, table) for number, table in enumerate(tables)]
        if given is not None:
            if len(found) != 1:
                self._forget()
                found = [{}]
            self._findings.wrong.discard("listen.0.bind")
            found[0]["bind"] = self._addresses(given.value, COMMAND_LINE)
        elif not tables:
            found = [{"bind": self._addresses([DEFAULT_BIND], DEFAULT)}]
        for number, each in enumerate(found):
            self._name(number, each, alone=len(found) == 1)
            self._require_binds(number, each)
            each.setdefault("auth", self._auth)
            each.setdefault("timeouts", self._timeouts)
            self._note_defaults(number)
        return tuple(ListenConfig(**each) for each in found)

    def _listener(self, number: int, table: Mapping[str, object]) -> dict[str, Any]:
        path: KeyPath = ("listen", number)
        found = self._tables.fields(path, ListenConfig, table)
        for key, section in schema.tables(ListenConfig).items():
            if key in table:
                inner = self._tables.table((*path, key), table[key])
                own = self._tables.fields((*path, key), section, inner)
                for name in schema.keys(section):
                    if name not in inner:
                        self._origins[dotted((*path, key, name))] = self._origin_in(key, name)
                start: Any = self._timeouts if section is Timeouts else section()
                found[key] = dataclasses.replace(start, **own)
        return found

    def _note_defaults(self, number: int) -> None:
        for key in schema.keys(ListenConfig):
            self._origins.setdefault(f"listen.{number}.{key}", DEFAULT)
        for table, section in schema.tables(ListenConfig).items():
            for key in schema.keys(section):
                self._origins.setdefault(f"listen.{number}.{table}.{key}", self._origin_in(table, key))

    def _origin_in(self, table: str, key: str) -> Origin:
        """Where what all listeners start from came from: [timeouts], the default for anything else."""
        return self._origins.get(f"{table}.{key}", DEFAULT)

    def _forget(self) -> None:
        for key in [key for key in self._origins if key.startswith("listen.")]:
            del self._origins[key]

    def _addresses(self, written: object, origin: Origin) -> object:
        """Addresses that stand in no file as the bind list of the first listener."""
        self._origins["listen.0.bind"] = origin
        try:
            return schema.keys(ListenConfig)["bind"].parse(written, self._here)
        except values.Wrong as error:
            self._findings.wrong_value(("listen", 0, "bind"), error)
            return ()

    def _name(self, number: int, found: dict[str, Any], alone: bool) -> None:
        if "name" in found:
            return
        found["name"] = DEFAULT_NAME
        if not alone and not self._findings.wrong & {f"listen.{number}.name", f"listen.{number}"}:
            self._findings.wrong_at(("listen", number), "needs a name: there are several")
            self._findings.wrong.add(f"listen.{number}.name")

    def _require_binds(self, number: int, found: dict[str, Any]) -> None:
        key = f"listen.{number}.bind"
        if not found.setdefault("bind", ()) and not self._findings.wrong & {key, f"listen.{number}"}:
            text = f'bind needs an address, as bind = ["{DEFAULT_BIND}"]'
            self._findings.wrong_at(("listen", number), text)
            self._findings.wrong.add(key)
