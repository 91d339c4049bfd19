"""The effective configuration as TOML, each value with a comment that says where it came from.

What it prints loads back to the same Config.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from forksocks.config import schema, values
from forksocks.config.load import Loaded
from forksocks.config.problems import Origin

WIDEST = 48  # a line longer than this does not push the comments of the others to the right


def effective(loaded: Loaded) -> str:
    """All sections and keys, aligned; a value that is not set stands as a comment."""
    lines: list[tuple[str, str]] = []
    for name in schema.sections():
        if name == "listen":
            for number, listen in enumerate(loaded.config.listen):
                lines += _section("[[listen]]", f"listen.{number}", listen, loaded.origins)
        elif name != "timeouts":  # each listener's are shown in full
            lines += _section(f"[{name}]", name, getattr(loaded.config, name), loaded.origins)
    for name in schema.named():
        for key, each in getattr(loaded.config, name).items():
            lines += _section(f"[{name}.{key}]", f"{name}.{key}", each, loaded.origins)
    for name in schema.rows():
        for number, each in enumerate(getattr(loaded.config, name)):
            lines += _section(f"[[{name}]]", f"{name}.{number}", each, loaded.origins)
    width = max((len(left) for left, origin in lines if origin and len(left) <= WIDEST), default=0)
    return "".join(f"{left:<{width}}  # {origin}\n" if origin else f"{left}\n" for left, origin in lines[1:])


def _section(
    header: str, prefix: str, section: Any, origins: Mapping[str, Origin]
) -> Iterator[tuple[str, str]]:
    yield "", ""
    yield header, ""
    yield from _keys("", prefix, section, origins)
    kind: type = type(section)
    for table in schema.tables(kind):
        yield from _keys(f"{table}.", f"{prefix}.{table}", getattr(section, table), origins)


def _keys(label: str, prefix: str, section: Any, origins: Mapping[str, Origin]) -> Iterator[tuple[str, str]]:
    kind: type = type(section)
    for name in schema.keys(kind):
        value = getattr(section, name)
        left = f"# {label}{name} is not set" if value is None else f"{label}{name} = {values.show(value)}"
        origin = origins[f"{prefix}.{name}"]
        yield left, values.readable(str(origin))
