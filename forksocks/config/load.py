"""A TOML file and flags become a Config, or one error with everything that is wrong.

Flags override the file, the file overrides the defaults; each value remembers where it came from. Here stands
only what joins sections: `tables` reads them, and `listeners` those that are like no other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forksocks.config import checks, schema, source
from forksocks.config.findings import Findings
from forksocks.config.listeners import Listeners
from forksocks.config.model import Config
from forksocks.config.problems import DEFAULT, ConfigError, Kind, Origin, Problem
from forksocks.config.tables import Flag, Tables

__all__ = ["ConfigError", "Flag", "Loaded", "Problem", "current_directory", "load", "load_text"]

OF_DAEMONS = Origin(Kind.DEFAULT, "default with daemon")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A Config and, by dotted key ("server.workers", "listen.0.bind"), where each value came from."""

    config: Config
    origins: Mapping[str, Origin]


def load(
    path: Path | None, flags: Mapping[str, Flag], here: Path | None = None, may_wait: bool = False
) -> Loaded:
    """Read the file, if any, and the flags (by dotted key; "listen.bind" for addresses).

    Raises ConfigError with all problems. Relative paths in the file start at its directory, others at `here`,
    by default the current directory. may_wait: see `files.content`.
    """
    here = here or current_directory()
    file = source.Source("", here, {}) if path is None else source.read(path, here, may_wait)
    return _loaded(file, flags, here)


def current_directory() -> Path:
    """Where relative paths start; ConfigError if it was removed."""
    try:
        return Path.cwd()
    except OSError as error:
        where = Origin(Kind.MACHINE, "current directory")
        raise ConfigError([Problem(where, "", error.strerror or str(error))]) from None


def load_text(text: str, name: str = "forksocks.toml", base: Path | None = None) -> Loaded:
    """The same from a text that stands in no file."""
    here = base or Path.cwd()
    return _loaded(source.parse(text, name, here), {}, here)


def _loaded(file: source.Source, flags: Mapping[str, Flag], here: Path) -> Loaded:
    findings = Findings(file)
    tables = Tables(file, flags, here, findings)
    sections, rows, named = schema.sections(), schema.rows(), schema.named()
    tables.refuse_unknown((), file.document, {**sections, **rows, **named})
    parts: dict[str, Any] = {
        name: tables.section(name, kind) for name, kind in sections.items() if name != "listen"
    }
    timeouts = parts.pop("timeouts")
    has_users = parts["auth"].users is not None or bool(parts["helper"].command)
    listeners = Listeners(tables, findings, here, timeouts, has_users)
    parts["listen"] = listeners.read(flags.get("listen.bind"))
    if parts["server"].daemon and findings.origins["log.to"] == DEFAULT:
        parts["log"] = dataclasses.replace(parts["log"], to="syslog")
        findings.origins["log.to"] = OF_DAEMONS
    parts |= {name: tables.rows(name, kind) for name, kind in rows.items()}
    parts |= {name: tables.named(name, kind) for name, kind in named.items()}
    config = Config(**parts)
    for conflict in checks.combinations(config, frozenset(findings.wrong)):
        findings.tell(findings.set_at(conflict.key), conflict.shown, conflict.text)
    findings.check()
    return Loaded(config, findings.origins)
