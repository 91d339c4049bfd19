"""The screen as lines of styled text: made from the model and a size, and nothing else."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from forksocks.verbs import show
from forksocks.verbs.tables import age, printable, size
from forksocks.verbs.top.cells import Glyphs, fitted, sparkline, width
from forksocks.verbs.top.columns import Column, fitting
from forksocks.verbs.top.model import Model

LEAST_ROWS, LEAST_COLUMNS = 8, 40
ROOMY = 30  # rows from which the endings are shown too
BUSY = 0.8  # of the threads, from which on that is a warning


class Style(enum.Enum):
    """What a span is; the screen knows how that looks."""

    PLAIN = enum.auto()
    DIM = enum.auto()
    BOLD = enum.auto()
    GOOD = enum.auto()
    WARN = enum.auto()
    GRAPH = enum.auto()
    HEAD = enum.auto()
    SORTED = enum.auto()
    SELECTED = enum.auto()


Span = tuple[str, Style]
Line = Sequence[Span]


def head_height(rows: int) -> int:
    """Lines above the first row of the table."""
    return 6 if rows >= ROOMY else 5


def page_height(rows: int) -> int:
    """How many rows of the table fit."""
    return max(1, rows - head_height(rows) - 1)


def picture(model: Model, rows: int, columns: int, glyphs: Glyphs) -> list[Line]:
    """All lines from top to bottom, each `columns` cells wide."""
    if rows < LEAST_ROWS or columns < LEAST_COLUMNS:
        text = f"at least {LEAST_COLUMNS}x{LEAST_ROWS}, q leaves"
        return [[(fitted(text, columns, glyphs), Style.PLAIN)], *[()] * (rows - 1)]
    if model.look is None:
        lines = [*[()] * (rows // 2), [(fitted("  asking ...", columns, glyphs), Style.DIM)]]
    else:
        lines = [*_head(model, model.look.status, rows, columns, glyphs), *_body(model, columns, glyphs)]
    lines = [*lines[: rows - 1], *[()] * (rows - 1 - len(lines))]
    return [*lines, _foot(model, columns, glyphs)]


# The head


def _head(model: Model, status: Mapping[str, Any], rows: int, columns: int, glyphs: Glyphs) -> list[Line]:
    totals, sessions, rates = status["totals"], status["sessions"], _rates(model)
    lines = [
        _title(status, columns, glyphs),
        _graph("clients", f"{rates['accepted']:.1f}/s", model.rates["accepted"],
               f"{sessions['open']} open, {totals['accepted']} in all", columns, glyphs),
        _graph("up", f"{size(rates['up'])}/s", model.rates["up"],
               f"{size(totals['up'])} in all", columns, glyphs),
        _graph("down", f"{size(rates['down'])}/s", model.rates["down"],
               f"{size(totals['down'])} in all", columns, glyphs),
    ]  # fmt: skip
    if rows >= ROOMY:
        lines.append(_ends(totals["ends"], columns, glyphs))
    return lines


def _rates(model: Model) -> Mapping[str, float]:
    """The last ones; before the second look those that the server tells."""
    if model.rates["up"]:
        return {name: rates[-1] for name, rates in model.rates.items()}
    assert model.look is not None
    told = model.look.status["rates"]
    return {"accepted": told["connections"], "up": told["up"], "down": told["down"]}


def _title(status: Mapping[str, Any], columns: int, glyphs: Glyphs) -> Line:
    state = printable(status["state"])
    dot = f" {glyphs.dot} "
    left: list[Span] = [
        ("forksocks ", Style.BOLD), (printable(status["version"]) + dot, Style.DIM),
        (state, Style.GOOD if state == "running" else Style.WARN),
        (f"{dot}up {age(status['uptime'])}{dot}generation {status['generation']}", Style.DIM),
    ]  # fmt: skip
    workers = status["workers"]
    threads, most = sum(each["threads"] for each in workers), sum(each["cap"] or 0 for each in workers)
    busy = status["sessions"]["open"] >= BUSY * most > 0
    right = f"{len(workers)} workers, {threads} of {most} threads"
    room = columns - sum(width(text) for text, _ in left)
    if room <= width(right):
        return _clipped(left, columns, glyphs)
    return [*left, (" " * (room - width(right)), Style.PLAIN), (right, Style.WARN if busy else Style.DIM)]


def _graph(
    name: str, value: str, rates: Sequence[float], note: str, columns: int, glyphs: Glyphs
) -> Line:  # fmt: skip
    """`up  1.25 M/s ▁▂▃▅▇ 19 G in all`."""
    right = f"peak {_peak(name, rates)} {glyphs.dot} {note}" if columns >= 120 and rates else note
    room = columns - 8 - 11 - 1 - 1 - (60 if columns >= 120 else 28)
    return _clipped(
        [
            (f"{name:<8}", Style.DIM), (fitted(value, 11, glyphs, right=True), Style.BOLD),
            (" " + sparkline(list(rates), max(0, room), glyphs) + " ", Style.GRAPH), (right, Style.PLAIN),
        ],
        columns, glyphs,
    )  # fmt: skip


def _peak(name: str, rates: Sequence[float]) -> str:
    most = max(rates)
    return f"{most:.1f}/s" if name == "clients" else f"{size(most)}/s"


def _ends(ends: Mapping[str, int], columns: int, glyphs: Glyphs) -> Line:
    happened = sorted(((number, name) for name, number in ends.items()), reverse=True)
    text = ", ".join(f"{number} {name}" for number, name in happened) or "none yet"
    return _clipped([("ended   ", Style.DIM), (f" {printable(text)}", Style.PLAIN)], columns, glyphs)


# The table


def _body(model: Model, columns: int, glyphs: Glyphs) -> list[Line]:
    if model.kind != "tunnels":
        return _others(model, columns, glyphs)
    chosen = fitting(columns)
    titles = [span for column, room in chosen for span in _heading(column, room, model, glyphs)]
    used = sum(room + 1 for _, room in chosen) - 1
    lines: list[Line] = [[*titles[:-1], (" " * (columns - used), Style.HEAD)]]
    for place, row in enumerate(model.rows()):
        cells = [
            (fitted(column.show(row), room, glyphs, column.right, column.keep_end), _style(column, row))
            for column, room in chosen
        ]
        lines.append(_row(cells, place == model.selected, columns, glyphs))
    return lines


def _heading(column: Column, room: int, model: Model, glyphs: Glyphs) -> list[Span]:
    is_sorted = model.order in (column.order, *(("rate",) if column.title in ("UP/s", "DOWN/s") else ()))
    title = fitted(column.title, room, glyphs, column.right)
    return [(title, Style.SORTED if is_sorted and model.order else Style.HEAD), (" ", Style.HEAD)]


def _style(column: Column, row: Mapping[str, Any]) -> Style:
    if column.title in ("ID", "RULE", "AGE", "IDLE", "RTT ms"):
        return Style.DIM
    if column.title == "STATE":
        return Style.PLAIN if row["state"] == "tunnel" else Style.WARN
    if column.title in ("UP/s", "DOWN/s"):
        return Style.GOOD if row[column.order] >= 0.5 else Style.DIM
    return Style.PLAIN


def _row(cells: Sequence[Span], is_selected: bool, columns: int, glyphs: Glyphs) -> Line:
    if is_selected:
        text = " ".join(text for text, _ in cells)
        return [(fitted(text, columns, glyphs), Style.SELECTED)]
    spaced = [span for cell in cells for span in (cell, (" ", Style.PLAIN))]
    return _clipped(spaced, columns, glyphs)


def _others(model: Model, columns: int, glyphs: Glyphs) -> list[Line]:
    """Workers, listeners, users or clients, as `show` has them."""
    rows = model.rows()[: model.page]
    texts = show.as_table(model.kind, rows).splitlines() if rows else [f"no {model.kind}"]
    lines: list[Line] = [[(fitted(texts[0], columns, glyphs), Style.HEAD)]]
    for place, text in enumerate(texts[1:]):
        style = Style.SELECTED if place == model.selected else Style.PLAIN
        lines.append([(fitted(text, columns, glyphs), style)])
    return lines


# The foot

KEYS = (
    ("/", "filter"), ("s", "sort"), ("r", "reverse"), ("k", "end"), ("f", "freeze"), ("q", "quit"),
    ("w", "workers"), ("u", "users"), ("c", "clients"), ("l", "listeners"), ("t", "tunnels"),
)  # fmt: skip


def _foot(model: Model, columns: int, glyphs: Glyphs) -> Line:
    if model.typed is not None:
        room = columns - len("filter: ") - 1
        typed = model.typed if width(model.typed) <= room else fitted(model.typed, room, glyphs, False, True)
        return _clipped(
            [("filter: ", Style.BOLD), (typed, Style.PLAIN), (" ", Style.SELECTED)], columns, glyphs
        )
    if model.asking:
        return _clipped([(printable(f"end {model.asking}{model.whose}? y/n"), Style.WARN)], columns, glyphs)
    if model.error or model.message:
        style = Style.WARN if model.error else Style.BOLD
        return _clipped([(printable(model.error or model.message), style)], columns, glyphs)
    keys = [span for key, word in KEYS for span in ((key, Style.BOLD), (f" {word}  ", Style.DIM))]
    said = _said(model, glyphs)
    room = columns - width(said) - 2
    return _clipped([(f"{said}  ", Style.PLAIN), *_whole_keys(keys, room)], columns, glyphs)


def _said(model: Model, glyphs: Glyphs) -> str:
    """What is shown: how many, in which order, what they are filtered by."""
    frozen = "FROZEN " if model.frozen else ""
    if model.kind != "tunnels":
        return f"{frozen}{model.count()} {model.kind}"
    last = model.above + min(model.page, len(model.rows()))
    places = (
        f"{model.above + 1}-{last} of {model.count()}" if model.count() > model.page else f"{model.count()}"
    )
    order = f"{model.order}{glyphs.up if model.turned else glyphs.down}"
    filters = "".join(f" {name}={value}" for name, value in model.filters.items())
    return f"{frozen}{places} by {order}{printable(filters) if filters else ''}"


def _whole_keys(spans: Sequence[Span], room: int) -> Line:
    """As many pairs of a key and its word as fit."""
    kept: list[Span] = []
    for key, word in zip(spans[::2], spans[1::2], strict=True):
        room -= width(key[0]) + width(word[0])
        if room < 0:
            break
        kept += (key, word)
    return kept


def _clipped(spans: Sequence[Span], columns: int, glyphs: Glyphs) -> Line:
    """The spans as far as there is room, and spaces where they end before it."""
    kept: list[Span] = []
    left = columns
    for text, style in spans:
        if left <= 0:
            break
        room = min(left, width(text))
        kept.append((fitted(text, room, glyphs), style))
        left -= room
    return [*kept, (" " * left, Style.PLAIN)] if left else kept
