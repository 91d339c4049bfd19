"""Tables for people: aligned columns, numbers to the right, units that are read at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from forksocks.host import terminal

UNITS = ("B", "K", "M", "G", "T", "P")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[str] = frozenset()) -> str:
    """Lines with the columns aligned; those named in `right` to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = [
            text.rjust(width) if name in right else text.ljust(width)
            for name, text, width in zip(header, row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip() + "\n")
    return "".join(lines)


def size(number: float) -> str:
    """Bytes in three digits or so: 812 B, 19.2 K, 1.25 G."""
    for unit in UNITS:
        if number < 999.5 or unit == UNITS[-1]:
            break
        number /= 1024
    if unit == "B":
        return f"{number:.0f} B"
    return f"{number:.{0 if number >= 99.95 else 1 if number >= 9.995 else 2}f} {unit}"


def age(seconds: float) -> str:
    """A time in its two largest units: 3.2s, 4m10s, 5h03m, 12d4h."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"


def printable(text: object) -> str:
    """What may be shown on a terminal; "-" for nothing."""
    return terminal.printable(str(text)) or "-"
