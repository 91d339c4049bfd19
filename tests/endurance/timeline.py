"""The timeline of a soak as one SVG file: load above, what the server holds below it, and then the faults, a
lane for each kind, whose marks go faintly through all.

Drawn by hand, without scripts or outside resources; it follows the reader's light or dark scheme.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT = 1200, 170, 24
TOP, PANEL, GAP, LANE = 96, 128, 46, 20
COLOURS = (
    "#e5484d", "#f76b15", "#d6a400", "#30a46c", "#12a594", "#0090ff", "#6e56cf", "#d6409f", "#8d6e63",
    "#607d8b", "#99a2ac", "#5b8c00", "#b54708",
)  # fmt: skip
STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #e0e3e8; --paper: #ffffff;
        --panel: #f9fafb; --one: #0d74ce; --two: #e54666; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #edeef0; --soft: #9ba1a8; --line: #2e3238; --paper: #111418; --panel: #181b20;
          --one: #70b8ff; --two: #ff92ad; }
}
text { font: 12px system-ui, "Segoe UI", sans-serif; fill: var(--soft); }
.title { font-size: 20px; font-weight: 650; fill: var(--ink); }
.name { font-size: 13px; font-weight: 600; fill: var(--ink); }
.paper { fill: var(--paper); } .panel { fill: var(--panel); }
.grid { stroke: var(--line); stroke-width: 1; }
.one { stroke: var(--one); } .two { stroke: var(--two); }
.curve { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.area { fill: var(--one); opacity: .13; }
.mark { stroke: var(--soft); stroke-width: 1; opacity: .16; }
.key1 { fill: var(--one); } .key2 { fill: var(--two); }
"""


@dataclass(frozen=True)
class Curve:
    """One quantity over time: seconds from the start, value."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One or two curves on the same scale, with the unit of that scale."""

    name: str
    unit: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Mark:
    """Something that happened, from `at` on for `seconds`."""

    at: float
    seconds: float
    kind: str


def draw(title: str, subtitle: str, panels: Sequence[Panel], marks: Sequence[Mark], seconds: float) -> str:
    """The whole picture; `seconds` is how long it was."""
    kinds = sorted({mark.kind for mark in marks})
    colours = {kind: COLOURS[number % len(COLOURS)] for number, kind in enumerate(kinds)}
    lanes = TOP + len(panels) * (PANEL + GAP)
    bottom = lanes + LANE * len(kinds)
    height = bottom + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="{LEFT}" y="38">{escape(title)}</text>',
        f'<text x="{LEFT}" y="60">{escape(subtitle)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * (PANEL + GAP), marks, seconds)
    parts.append(f'<text class="name" x="{LEFT}" y="{lanes - 10}">Faults</text>')
    for number, kind in enumerate(kinds):
        those = [mark for mark in marks if mark.kind == kind]
        parts += _lane(kind, those, lanes + number * LANE, colours[kind], seconds)
    parts += _time_axis(bottom + 18, seconds)
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _x(at: float, seconds: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, at / seconds))


def _panel(panel: Panel, y: float, marks: Sequence[Mark], seconds: float) -> list[str]:
    most = nice(max((value for curve in panel.curves for _, value in curve.points), default=1))
    wide = WIDTH - LEFT - RIGHT
    parts = [f'<rect class="panel" x="{LEFT}" y="{y}" width="{wide}" height="{PANEL}" rx="4"/>']
    for step in range(5):
        line = y + PANEL - PANEL * step / 4
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{line}" y2="{line}"/>')
        if step % 2 == 0:
            text = f"{most * step / 4:g}"
            parts.append(f'<text x="{LEFT - 8}" y="{line + 4}" text-anchor="end">{text}</text>')
    through = "".join(f"M{_x(mark.at, seconds):.1f} {y}v{PANEL}" for mark in marks)
    parts.append(f'<path class="mark" d="{through}"/>')
    for number, curve in enumerate(panel.curves):
        parts += _curve(curve, number, y, most, seconds)
    parts.append(f'<text class="name" x="{LEFT}" y="{y - 10}">{escape(panel.name)}</text>')
    keys, x = [], WIDTH - RIGHT
    for number, curve in reversed(list(enumerate(panel.curves))):
        label = f"{curve.name}, {panel.unit}" if panel.unit else curve.name
        x -= 7 * len(label)
        keys.append(f'<text x="{x}" y="{y - 10}">{escape(label)}</text>')
        keys.append(f'<rect class="key{number + 1}" x="{x - 16}" y="{y - 18}" width="10" height="3" rx="1"/>')
        x -= 30
    return parts + keys


def _curve(curve: Curve, number: int, y: float, most: float, seconds: float) -> list[str]:
    places = [
        f"{_x(at, seconds):.1f},{y + PANEL - PANEL * min(1.0, value / most):.1f}"
        for at, value in thinned(curve.points)
    ]
    if not places:
        return []
    path = "M" + "L".join(places)
    parts = [f'<path class="curve {"one" if number == 0 else "two"}" d="{path}"/>']
    if number == 0:
        first, last = places[0].split(",")[0], places[-1].split(",")[0]
        parts.insert(0, f'<path class="area" d="{path}L{last},{y + PANEL}L{first},{y + PANEL}Z"/>')
    return parts


def thinned(points: Sequence[tuple[float, float]], most: int = 600) -> list[tuple[float, float]]:
    """At most so many points, each the mean of its neighbours: more would not be seen."""
    group = math.ceil(len(points) / most) or 1
    groups = [points[first : first + group] for first in range(0, len(points), group)]
    return [
        (sum(at for at, _ in each) / len(each), sum(value for _, value in each) / len(each))
        for each in groups
    ]


def _time_axis(y: float, seconds: float) -> list[str]:
    step = next((each for each in (10, 30, 60, 300, 600, 1800) if seconds / each <= 12), 3600)
    return [
        f'<text x="{_x(at, seconds):.1f}" y="{y}" text-anchor="middle">{clock(at)}</text>'
        for at in range(0, int(seconds) + 1, step)
    ]


def _lane(kind: str, marks: Sequence[Mark], y: float, colour: str, seconds: float) -> list[str]:
    """When one kind of fault happened, and for how long."""
    middle = y + LANE / 2
    parts = [
        f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{len(marks)} {escape(kind)}</text>',
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{middle}" y2="{middle}"/>',
    ]
    for mark in marks:
        begin, end = _x(mark.at, seconds), _x(mark.at + mark.seconds, seconds)
        parts.append(
            f'<rect class="fault" x="{begin - 1.5:.1f}" y="{y + 4}" width="{end - begin + 3:.1f}" '
            f'height="{LANE - 8}" rx="1.5" fill="{colour}">'
            f"<title>{escape(mark.kind)} at {clock(mark.at)}</title></rect>"
        )
    return parts


def nice(value: float) -> float:
    """The next round number that a scale can end with."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * factor for factor in (1, 2, 2.5, 4, 5, 8, 10) if power * factor >= value)


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes and seconds."""
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
