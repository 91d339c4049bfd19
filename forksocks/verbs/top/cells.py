"""Texts by the cells of a terminal that they take: wide characters two, marks on another none."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What a terminal can draw. steps: the heights of a sparkline, from 0 to the most."""

    steps: str
    cut: str
    dot: str
    down: str
    up: str


FINE = Glyphs("▁▂▃▄▅▆▇█", "…", "·", "▾", "▴")
PLAIN = Glyphs("_.:-=+*#", "~", "-", "v", "^")


def width(text: str) -> int:
    """How many cells a printable text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def fitted(text: str, room: int, glyphs: Glyphs, right: bool = False, keep_end: bool = False) -> str:
    """`text` in exactly so many cells; what is cut off is marked, at its beginning to keep the end."""
    if width(text) > room:
        order = text[::-1] if keep_end else text
        kept, left = "", room - 1
        for character in order:
            left -= _width(character)
            if left < 0:
                break
            kept += character
        text = glyphs.cut + kept[::-1] if keep_end else kept + glyphs.cut
        text = text if room > 0 else ""
    space = " " * (room - width(text))
    return space + text if right else text + space


def sparkline(values: Sequence[float], room: int, glyphs: Glyphs) -> str:
    """The last values, a cell each, by the largest that is shown; spaces where there are none yet."""
    shown = values[-room:] if room > 0 else ()
    most = max(shown, default=0.0)
    top = len(glyphs.steps) - 1
    # Whatever is not 0 can be told from it.
    heights = (0 if value <= 0 or most <= 0 else max(1, round(value / most * top)) for value in shown)
    return "".join(glyphs.steps[height] for height in heights).rjust(room)


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
