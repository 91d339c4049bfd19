"""Texts for a terminal: what came from elsewhere may neither move its cursor nor pass for something else."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with every character escaped that is not printed as it stands."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
