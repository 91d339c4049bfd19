"""What is wrong with a configuration: where, which key, what; and the one error that carries all of it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from forksocks.config.values import readable


class Kind(enum.Enum):
    """What may set a value, or be wrong."""

    DEFAULT = enum.auto()
    FILE = enum.auto()
    OPTION = enum.auto()
    COMMAND_LINE = enum.auto()
    MACHINE = enum.auto()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from. name: of the file as the user wrote it, of the option. line: 0 for no line."""

    kind: Kind
    name: str
    line: int = 0

    def __str__(self) -> str:
        """As a message begins: `forksocks.toml:31`, `--workers`, `default`."""
        name = readable(self.name)
        return f"{name}:{self.line}" if self.line else name


DEFAULT = Origin(Kind.DEFAULT, "default")
COMMAND_LINE = Origin(Kind.COMMAND_LINE, "command line")  # and no option


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `key`: "[listen] backlog" or empty; an option says itself which key it sets."""

    where: Origin
    key: str
    text: str

    def __str__(self) -> str:
        key = "" if self.where.kind is Kind.OPTION else self.key
        return f"{self.where}: {key}{' ' if key else ''}{self.text}"


class ConfigError(Exception):
    """A configuration that cannot be used; `str()` is one line per problem."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
