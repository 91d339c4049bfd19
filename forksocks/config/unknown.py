"""What may have been meant by a key that nobody knows: a near word, another section, or both."""

from __future__ import annotations

from collections.abc import Iterable

from forksocks.config import schema
from forksocks.config.near import did_you_mean, nearest
from forksocks.config.values import shown


def meant_section(name: str, known: Iterable[str]) -> str:
    """The end of the sentence that says that there is no such section; empty where nothing comes near."""
    return did_you_mean(name, known) or meant(name, known)


def meant(key: str, known: Iterable[str]) -> str:
    """The same of a key that is none of the `known`."""
    home = _home(key)
    if home:
        return f"; it belongs {home}"
    return did_you_mean(key, known) or _misspelt_and_elsewhere(key)


def _home(key: str) -> str:
    """`in [server]`: the sections that have this key."""
    homes = [name for name, section in schema.sections().items() if key in schema.keys(section)]
    return f"in {' or '.join(f'[{name}]' for name in homes)}" if homes else ""


def _misspelt_and_elsewhere(key: str) -> str:
    every = [name for section in schema.sections().values() for name in schema.keys(section)]
    near = nearest(key, every, likeness=0.75)
    return f"; did you mean {shown(near)} {_home(near)}?" if near else ""
