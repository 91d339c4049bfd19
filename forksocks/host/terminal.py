"""Texts for a terminal: what came from elsewhere may neither move its cursor nor pass for something else."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with every character escaped that is not printed as it stands."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def printable_lines(text: str) -> list[str]:
    """The same of several lines; what else a terminal would take for the end of a line is escaped."""
    return [printable(line) for line in text.removesuffix("\n").split("\n")]


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is no UTF-8, as os.fsdecode has it (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return ascii(character)[1:-1]
