"""A TOML file and flags become a Config, or one error with everything that is wrong.

Flags override the file, the file overrides the defaults; each value remembers where it came from. Nothing
here knows a key by its spelling but where two keys depend on each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from forksocks.config import checks, schema, source, values
from forksocks.config.lines import KeyPath
from forksocks.config.model import AuthMethod, Config, ListenConfig, LogConfig, Timeouts
from forksocks.config.problems import ConfigError, Problem, did_you_mean, nearest

__all__ = ["ConfigError", "Flag", "Loaded", "Problem", "current_directory", "load", "load_text"]

T = TypeVar("T")

DEFAULT = "default"
DEFAULT_BIND = "127.0.0.1:1080"
DEFAULT_NAME = "default"


@dataclass(frozen=True, slots=True)
class Flag:
    """A value from the command line: texts as they were typed, or True; `name` is for errors: "--workers"."""

    name: str
    value: str | bool | list[str]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A Config and, by dotted key ("server.workers", "listen.0.bind"), where each value came from."""

    config: Config
    origins: Mapping[str, str]


def load(path: Path | None, flags: Mapping[str, Flag], here: Path | None = None) -> Loaded:
    """Read the file, if any, and the flags (by dotted key; "listen.bind" for addresses).

    Raises ConfigError with all problems. Relative paths in the file start at its directory, others at `here`,
    by default the current directory.
    """
    here = here or current_directory()
    file = source.Source("", here, {}) if path is None else source.read(path, here)
    return _Loading(file, flags, here).run()


def current_directory() -> Path:
    """Where relative paths start; ConfigError if it was removed."""
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError([Problem("current directory", "", error.strerror or str(error))]) from None


def load_text(text: str, name: str = "forksocks.toml", base: Path | None = None) -> Loaded:
    """The same from a text that stands in no file."""
    here = base or Path.cwd()
    return _Loading(source.parse(text, name, here), {}, here).run()


class _Loading:
    """One load: what was found so far, what is wrong so far."""

    def __init__(self, file: source.Source, flags: Mapping[str, Flag], here: Path) -> None:
        self.file = file
        self.flags = flags
        self.here = here
        self.problems: list[Problem] = []
        self.origins: dict[str, str] = {}
        self.wrong: set[str] = set()  # dotted keys that have a problem: nothing is concluded from them

    def run(self) -> Loaded:
        rows, named = schema.rows(), schema.named()
        self.refuse_unknown((), self.file.document, {**schema.sections(), **rows, **named})
        parts: dict[str, Any] = {
            name: self.row((name,), section, self.table((name,), self.file.document.get(name, {})))
            for name, section in schema.sections().items()
            if name != "listen"
        }
        timeouts = parts.pop("timeouts")
        has_users = parts["auth"].users is not None or bool(parts["helper"].command)
        listen = self.listeners(timeouts, has_users)
        if parts["server"].daemon and self.origins["log.to"] == DEFAULT:
            parts["log"] = LogConfig("syslog", parts["log"].format, parts["log"].level)
            self.origins["log.to"] = "default with daemon"
        parts |= {name: self.rows(name, kind) for name, kind in rows.items()}
        parts |= {name: self.named(name, kind) for name, kind in named.items()}
        config = Config(listen=listen, **parts)
        for wrong in checks.combinations(config, self.origins, frozenset(self.wrong)):
            self.problems.append(Problem(self.given_at(wrong.key), wrong.shown, wrong.text))
        if self.problems:
            raise ConfigError(sorted(self.problems, key=_line))
        return Loaded(config, self.origins)

    def given_at(self, dotted: str) -> str:
        """Where a value came from; for a default the file that could have changed it."""
        origin = self.origins.get(dotted, DEFAULT)
        if not origin.startswith(DEFAULT):
            return origin
        path = tuple(int(part) if part.isdecimal() else part for part in dotted.split("."))
        return self.file.where(path) if self.file.name else "command line"

    def refuse_unknown(self, path: KeyPath, table: Mapping[str, object], known: Mapping[str, object]) -> None:
        """A problem for every key that is not known at `path`, with what may have been meant."""
        for key, value in table.items():
            if key not in known:
                hint = _elsewhere(key) or did_you_mean(key, known) or _nearly(key)
                kind = "key" if path or not isinstance(value, (dict, list)) else "section"
                label = f"{_label(path)} " if path else ""
                where = self.file.where((*path, key))
                self.problems.append(Problem(where, "", f"{label}unknown {kind} {values.shown(key)}{hint}"))

    def rows(self, name: str, kind: type) -> tuple[Any, ...]:
        """All [[tables]] of a name, without those that lack what they need."""
        found = [self.row((name, number), kind, table) for number, table in enumerate(self.tables(name))]
        return tuple(each for each in found if each is not None)

    def named(self, name: str, kind: type) -> Mapping[str, Any]:
        """All tables in a [section] whose keys are names."""
        made: dict[str, Any] = {}
        for key, value in self.table((name,), self.file.document.get(name, {})).items():
            try:
                values.name(key)
            except values.Wrong as error:
                self.problem((name, key), str(error))
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
                self.problem(path, f"needs {key}")
        return kind(**found) if all(found.get(key) is not None for key in needed) else None

    def table(self, path: KeyPath, value: object) -> Mapping[str, object]:
        if isinstance(value, dict):
            return value
        self.problem(path, f"must be a table, not {values.shown(value)}")
        return {}

    def fields(self, path: KeyPath, section: type, table: Mapping[str, object]) -> dict[str, Any]:
        """The values of a section's keys that were given and are right; notes origins of all."""
        keys = schema.keys(section)
        self.refuse_unknown(path, table, {**keys, **schema.tables(section)})
        found: dict[str, Any] = {}
        for name, key in keys.items():
            dotted = _dotted((*path, name))
            self.origins.setdefault(dotted, DEFAULT)
            try:
                if dotted in self.flags:
                    self.origins[dotted] = self.flags[dotted].name
                    found[name] = key.parse(_as_toml(key, self.flags[dotted].value), self.here)
                elif name in table:
                    self.origins[dotted] = self.file.where((*path, name))
                    found[name] = key.parse(table[name], self.file.base)
                elif dotted == "server.workers":
                    found[name] = values.workers("auto")
            except values.Wrong as error:
                self.wrong_value((*path, name), error)
        return found

    def wrong_value(self, path: KeyPath, error: values.Wrong) -> None:
        """One problem for a wrong value, or one for each wrong item of a list."""
        dotted = _dotted(path)
        self.wrong.add(dotted)
        if dotted in self.flags:
            for _, text in error.items:
                self.problems.append(Problem(f"{self.flags[dotted].name}", "", text))
            return
        for position, text in error.items:
            where = path if position is None else (*path, position)
            self.problems.append(Problem(self.file.where(where), f"{_label(path[:-1])} {path[-1]}", text))

    def problem(self, path: KeyPath, text: str) -> None:
        self.wrong.add(_dotted(path))
        self.problems.append(Problem(self.file.where(path), _label(path), text))

    def listeners(self, timeouts: Timeouts, has_users: bool) -> tuple[ListenConfig, ...]:
        """All listeners; addresses of the command line replace those of the file.

        With exactly one [[listen]] they take its place in it, its other settings stay. With several they are
        one listener of their own: nobody could say which of the file's they are meant for.
        """
        given = self.flags.get("listen.bind")
        tables = self.tables("listen")
        found = [self.listener(number, table, timeouts) for number, table in enumerate(tables)]
        if given is None:
            if not tables:
                found = [{"bind": self.addresses(Flag(DEFAULT, [DEFAULT_BIND]), 0)}]
        else:
            if len(found) != 1:
                self.forget_listeners()
                found = [{}]
            self.wrong.discard("listen.0.bind")
            found[0]["bind"] = self.addresses(given, 0)
        default_auth = (AuthMethod.PASSWORD,) if has_users else (AuthMethod.NONE,)
        for number, each in enumerate(found):
            self.name(number, each, alone=len(found) == 1)
            self.require_binds(number, each)
            each.setdefault("auth", default_auth)
            each.setdefault("timeouts", timeouts)
            for key in schema.keys(ListenConfig):
                self.origins.setdefault(f"listen.{number}.{key}", DEFAULT)
            for table, section in schema.tables(ListenConfig).items():
                for key in schema.keys(section):
                    origin = self.origins.get(f"{table}.{key}", DEFAULT)
                    self.origins.setdefault(f"listen.{number}.{table}.{key}", origin)
        return tuple(ListenConfig(**each) for each in found)

    def forget_listeners(self) -> None:
        for dotted in [key for key in self.origins if key.startswith("listen.")]:
            del self.origins[dotted]

    def tables(self, name: str) -> list[Mapping[str, object]]:
        value = self.file.document.get(name, [])
        if isinstance(value, dict):
            self.problem((name,), f"must be written [[{name}]]: there may be several")
            return []
        if not isinstance(value, list):
            self.problem((name,), f"must be a table, written [[{name}]], not {values.shown(value)}")
            return []
        return [self.table((name, number), each) for number, each in enumerate(value)]

    def listener(self, number: int, table: Mapping[str, object], timeouts: Timeouts) -> dict[str, Any]:
        path: KeyPath = ("listen", number)
        found = self.fields(path, ListenConfig, table)
        for key, section in schema.tables(ListenConfig).items():
            if key in table:
                inner = self.table((*path, key), table[key])
                own = self.fields((*path, key), section, inner)
                for name in schema.keys(section):
                    if name not in inner:
                        origin = self.origins.get(f"{key}.{name}", DEFAULT)
                        self.origins[_dotted((*path, key, name))] = origin
                found[key] = _changed(timeouts if section is Timeouts else section(), own)
        return found

    def addresses(self, given: Flag, number: int) -> object:
        """The addresses of the command line as the bind list of a listener."""
        self.origins[f"listen.{number}.bind"] = given.name
        try:
            return schema.keys(ListenConfig)["bind"].parse(given.value, self.here)
        except values.Wrong as error:
            self.wrong.add(f"listen.{number}.bind")
            self.problems.extend(Problem(given.name, "", text) for _, text in error.items)
            return ()

    def name(self, number: int, found: dict[str, Any], alone: bool) -> None:
        if "name" in found:
            return
        found["name"] = DEFAULT_NAME
        if not alone and not self.wrong & {f"listen.{number}.name", f"listen.{number}"}:
            self.problem(("listen", number), "needs a name: there are several")
            self.wrong.add(f"listen.{number}.name")

    def require_binds(self, number: int, found: dict[str, Any]) -> None:
        dotted = f"listen.{number}.bind"
        if not found.setdefault("bind", ()) and not self.wrong & {dotted, f"listen.{number}"}:
            self.problem(("listen", number), f'bind needs an address, as bind = ["{DEFAULT_BIND}"]')
            self.wrong.add(dotted)


def _changed(table: Any, own: Mapping[str, object]) -> object:
    return dataclasses.replace(table, **own)


def _as_toml(key: schema.Key, value: str | bool | list[str]) -> object:
    """What was typed in the shape that TOML would have given: numbers without quotes, lists as lists."""
    if not isinstance(value, str):
        return value
    if key.listed:
        return [each.strip() for each in value.split(",") if each.strip()]
    return int(value) if key.number and value.isascii() and value.isdigit() and len(value) < 10 else value


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)


def _label(path: KeyPath) -> str:
    """`[server]`, `[listen]`, `[listen] timeouts`, `[sets.office]`: how an error names a table."""
    names = [str(part) for part in path if isinstance(part, str)]
    if names[0] in schema.named() and len(names) > 1:
        names[:2] = [f"{names[0]}.{names[1]}"]
    return " ".join([f"[{names[0]}]", *names[1:]])


def _elsewhere(key: str) -> str:
    """A key that stands in the wrong section."""
    homes = [name for name, section in schema.sections().items() if key in schema.keys(section)]
    return f"; it belongs in {' or '.join(f'[{name}]' for name in homes)}" if homes else ""


def _nearly(key: str) -> str:
    """A key that is misspelt and stands in the wrong section."""
    every = [name for section in schema.sections().values() for name in schema.keys(section)]
    near = nearest(key, every, likeness=0.75)
    return (
        f"; did you mean {values.shown(near)}{_elsewhere(near).replace('; it belongs', '')}?" if near else ""
    )


def _line(problem: Problem) -> int:
    """Problems are told in the order of the file, those of the command line first."""
    _, _, line = problem.where.rpartition(":")
    return int(line) if line.isdecimal() else 0
