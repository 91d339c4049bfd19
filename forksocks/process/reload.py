"""What a reload may change, and what it did change: two configurations compared.

Reading them, and starting a generation, is the supervisor's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from forksocks.config.model import AuthMethod, Config

REMEDY = "say open_proxy if everyone may come in, or restart the server"
# What a running server cannot change: who it is. A new program can (SIGUSR2).
FIXED = ("user", "daemon", "pidfile")


class Refused(Exception):
    """A configuration that a running server must not go over to; one line a reason."""


def admitted(old: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """The configuration to go over to, and the keys of it that do not take effect. Raises Refused."""
    opened = openings(old, new)
    if opened:
        raise Refused("\n".join(f"{bind} would no longer ask for a password: {REMEDY}" for bind in opened))
    return with_fixed_kept(old, new)


def with_fixed_kept(old: Config, new: Config) -> tuple[Config, tuple[str, ...]]:
    """The new configuration with the keys that cannot change as they were, and which of them would have."""
    differ = [key for key in FIXED if getattr(old.server, key) != getattr(new.server, key)]
    kept = {key: getattr(old.server, key) for key in differ}
    server = dataclasses.replace(new.server, **kept)
    return dataclasses.replace(new, server=server), tuple(f"server.{key}" for key in differ)


def openings(old: Config, new: Config) -> tuple[str, ...]:
    """The addresses that would admit clients without a password although passwords were asked for before.

    A file that lost its users, or half its lines, must not open a proxy; who means it says `open_proxy`, or
    starts the server anew. Where nobody was asked for a password before, nothing was closed.
    """
    if new.access.open_proxy or all(listen.auth == (AuthMethod.NONE,) for listen in old.listen):
        return ()
    open_before = _without_password(old)
    return tuple(bind for bind in _without_password(new) if bind not in open_before)


def _without_password(config: Config) -> Sequence[str]:
    return [str(bind) for listen in config.listen for bind in listen.bind if AuthMethod.NONE in listen.auth]


def changes(old: Config, new: Config) -> tuple[str, ...]:
    """The dotted keys that differ; a listener that came or went, or changed its name, is `listen`."""
    found: list[str] = []
    for section in dataclasses.fields(Config):
        if section.name != "listen":
            found += _differing(section.name, getattr(old, section.name), getattr(new, section.name))
    before, after = ({listen.name: listen for listen in each.listen} for each in (old, new))
    if list(before) != list(after):
        found.append("listen")
    for name in before.keys() & after.keys():
        found += _differing(f"listen.{name}", before[name], after[name])
    return tuple(sorted(found))


def _differing(key: str, old: Any, new: Any) -> Iterator[str]:
    """The keys below `key` that differ; anything but a section is compared as a whole."""
    if not dataclasses.is_dataclass(old):
        if old != new:
            yield key
        return
    for field in dataclasses.fields(old):
        yield from _differing(f"{key}.{field.name}", getattr(old, field.name), getattr(new, field.name))
