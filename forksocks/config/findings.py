"""What a load has found out so far: where each value came from, and what is wrong."""

from __future__ import annotations

from forksocks.config import schema
from forksocks.config.lines import KeyPath
from forksocks.config.problems import COMMAND_LINE, DEFAULT, ConfigError, Kind, Origin, Problem
from forksocks.config.source import Source
from forksocks.config.values import Wrong


class Findings:
    """origins: by dotted key. wrong: dotted keys that have a problem, from which nothing is concluded."""

    def __init__(self, file: Source) -> None:
        self.origins: dict[str, Origin] = {}
        self.wrong: set[str] = set()
        self._file = file
        self._problems: list[Problem] = []

    def tell(self, where: Origin, key: str, text: str) -> None:
        """One thing to mend."""
        self._problems.append(Problem(where, key, text))

    def wrong_at(self, path: KeyPath, text: str) -> None:
        """A problem with what stands at `path` in the file."""
        self.wrong.add(dotted(path))
        self.tell(self._file.where(path), label(path), text)

    def wrong_value(self, path: KeyPath, error: Wrong) -> None:
        """One problem for a wrong value, or one for each wrong item of a list, where it was given."""
        key = dotted(path)
        self.wrong.add(key)
        origin = self.origins[key]
        for position, text in error.items:
            if origin.kind is Kind.FILE:
                where = path if position is None else (*path, position)
                self.tell(self._file.where(where), f"{label(path[:-1])} {path[-1]}", text)
            else:
                self.tell(origin, "", text)

    def set_at(self, key: str) -> Origin:
        """Where a value came from; for a default the file that could have changed it."""
        origin = self.origins.get(key, DEFAULT)
        if origin.kind is not Kind.DEFAULT:
            return origin
        path = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
        return self._file.where(path) if self._file.name else COMMAND_LINE

    def check(self) -> None:
        """Raise ConfigError if anything is wrong: in the order of the file, the command line first."""
        if self._problems:
            raise ConfigError(sorted(self._problems, key=lambda problem: problem.where.line))


def dotted(path: KeyPath) -> str:
    """`listen.0.bind`."""
    return ".".join(str(part) for part in path)


def label(path: KeyPath) -> str:
    """`[server]`, `[listen]`, `[listen] timeouts`, `[sets.office]`: how an error names a table."""
    names = [str(part) for part in path if isinstance(part, str)]
    if names[0] in schema.named() and len(names) > 1:
        names[:2] = [f"{names[0]}.{names[1]}"]
    return " ".join([f"[{names[0]}]", *names[1:]])
