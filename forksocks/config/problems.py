"""What is wrong with a configuration: where, which key, what; and the one error that carries all of it."""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable
from dataclasses import dataclass

from forksocks.config.values import shown


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
        return f"{self.name}:{self.line}" if self.line else self.name


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


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known word that `word` was probably meant to be; `likeness` 1 is the word itself."""
    near = difflib.get_close_matches(word[:64].lower(), list(known), n=1, cutoff=likeness)
    return near[0] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean "backlog"?`, or nothing where no known word is near."""
    near = nearest(word, known)
    return f"; did you mean {shown(near)}?" if near else ""
