"""The configuration file as a document: read, decoded, parsed by tomllib, with the line of each key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from forksocks.config.files import content
from forksocks.config.lines import KeyPath, index
from forksocks.config.problems import ConfigError, Kind, Origin, Problem

# More is no configuration but a mistake, such as -c /dev/zero.
MOST_BYTES = 16 << 20
TOO_MANY_DIGITS = re.compile(r"[0-9][0-9_]{4000,}")  # sys.get_int_max_str_digits() is 4,300
# What tomllib says to the mistakes that people make, and what they would want to know.
CURES: Mapping[str, str] = {
    "Invalid value": "texts stand in quotes",
    "Invalid statement": "comments begin with #",
    "Cannot overwrite a value": "the same key stands there twice",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed file. `name` is how the user wrote its path; relative paths in it start at `base`."""

    name: str
    base: Path
    document: Mapping[str, object]
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    def where(self, path: KeyPath) -> Origin:
        """The line of a key, or else of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return _in(self.name, self.lines[path] if path else 0)


def _in(name: str, line: int = 0) -> Origin:
    return Origin(Kind.FILE, name, line)


def read(path: Path, cwd: Path, may_wait: bool = False) -> Source:
    """Read a file; ConfigError for whatever keeps it from being TOML. OSErrors become ConfigErrors too.

    may_wait: see `files.content`.
    """
    name = str(path)
    try:
        raw = content(cwd / path, MOST_BYTES, may_wait)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _error(_in(name), f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > MOST_BYTES:
        raise _error(_in(name), f"is longer than {MOST_BYTES >> 20} MiB; that is no configuration")
    try:
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _error(_in(name, line), f"is not UTF-8: byte 0x{raw[error.start]:02x}") from None
    return parse(text, name, (cwd / path).parent)


def parse(text: str, name: str, base: Path) -> Source:
    """TOML to a Source; ConfigError with the line where tomllib stopped."""
    try:
        return Source(name, base, tomllib.loads(text), index(text))
    except RecursionError:
        raise _error(_in(name), "is nested too deeply") from None
    except tomllib.TOMLDecodeError as error:
        raise _error(*_place(str(error), text, name)) from None
    except ValueError:  # int() of more digits than Python takes, and its advice is about Python
        digits = TOO_MANY_DIGITS.search(text)
        line = text.count("\n", 0, digits.start()) + 1 if digits else 0
        raise _error(_in(name, line), "has a number that is too long") from None


def _place(message: str, text: str, name: str) -> tuple[Origin, str]:
    """tomllib's `Expected '=' after a key (at line 3, column 5)` with the line put in front."""
    for said, cure in CURES.items():
        message = message.replace(said, f"{said}: {cure}", 1)
    found = re.search(r" \(at line (\d+), column (\d+)\)$", message)
    if found:
        return _in(name, int(found[1])), f"is not TOML: {message[: found.start()]} (column {found[2]})"
    if message.endswith("(at end of document)"):
        return _in(name, text.count("\n") + 1), f"is not TOML: {message}"
    return _in(name), f"is not TOML: {message.splitlines()[0]}"


def _error(where: Origin, text: str) -> ConfigError:
    return ConfigError([Problem(where, "", text)])
