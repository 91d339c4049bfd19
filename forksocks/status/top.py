"""The sessions under way as `forksocksctl top` shows them: in an order, a page at a time, with rates.

All of them are looked at, but only by their numbers (reading.strides); texts are made, and workers asked, for
those of the page alone. So ten thousand cost little more than fifty, unless a filter or an order is about
texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import nlargest
from typing import Any

from forksocks.host.scoreboard import reading
from forksocks.host.scoreboard.identity import identity
from forksocks.status import tunnels
from forksocks.status.frame import BadRequest, Object, Server
from forksocks.status.watch import Move

FIELDS: Sequence[str] = (*tunnels.FIELDS, "text", "sort", "skip", "first")
# The most of a page, and of the whole that a page may be taken from.
MOST_ROWS, MOST_SKIPPED = 200, 1_000_000

# By the name of an order what it goes by, the largest first: numbers, and texts from a to z.
NUMBERS: Mapping[str, Callable[[Move], float]] = {
    "rate": lambda move: move.up_rate + move.down_rate,
    "up_rate": lambda move: move.up_rate,
    "down_rate": lambda move: move.down_rate,
    "total": lambda move: move.up + move.down,
    "age": lambda move: -move.started,
    "idle": lambda move: -move.active,
}
TEXTS = ("user", "client", "to", "state")
# Where the filter `text` looks for its value.
_SEARCHED = ("id", "user", "client", "to", "addr", "listen", "state")

# A move, and the session as an object where it has been made already.
Row = tuple[Move, Object | None]


def top(server: Server, status: Object) -> Iterator[Object]:
    """First an object with the `status` and how many sessions fit the filters, then those of the page."""
    filters = dict(server.filters)
    order = filters.pop("sort", "rate")
    skip = _number("skip", filters.pop("skip", "0"), MOST_SKIPPED)
    first = _number("first", filters.pop("first", "50"), MOST_ROWS)
    name = order.removeprefix("-")
    if name not in NUMBERS and name not in TEXTS:
        raise BadRequest(f"no order {name[:40]!r}; there are {', '.join([*NUMBERS, *TEXTS])}")
    rows: list[Row]
    if filters or name in TEXTS:
        rows = _with_texts(server, filters)
    else:
        rows = [(move, None) for move in server.watch.moves()]
    yield {"status": status, "fit": len(rows)}
    page = _page(rows, name, order.startswith("-"), skip, first)
    yield from _told(server, page)


def _page(rows: list[Row], name: str, turned: bool, skip: int, first: int) -> list[Row]:
    if name in TEXTS:
        rows.sort(key=lambda row: str((row[1] or {}).get(name, "")), reverse=turned)
        return rows[skip : skip + first]
    by = NUMBERS[name]
    sign = -1 if turned else 1
    return nlargest(skip + first, rows, key=lambda row: sign * by(row[0]))[skip:]


def _with_texts(server: Server, filters: Mapping[str, str]) -> list[Row]:
    """All sessions that fit the filters, as objects too."""
    numbers = tunnels.workers(server)
    moves = {identity(numbers.get(move.key, 0), move.number): move for move in server.watch.moves()}
    of_fields = {name: value for name, value in filters.items() if name != "text"}
    text = filters.get("text", "").lower()
    return [
        (moves[each["id"]], each)
        for _, each in tunnels.fitting(replace(server, filters=of_fields))
        if each["id"] in moves and any(text in each[field].lower() for field in _SEARCHED)
    ]


def _told(server: Server, page: Sequence[Row]) -> Iterator[Object]:
    """The rows of a page, with their rule and round trips as their workers tell them."""
    numbers = tunnels.workers(server)
    told: list[tuple[Move, Object]] = []
    for move, known in page:
        seen = reading.tunnel(server.watch.boards[move.key], move.place)
        if seen is not None and seen.number == move.number:  # else it has ended meanwhile
            told.append((move, (known or {}) | tunnels.as_object(numbers.get(move.key, 0), seen)))
    more: dict[str, Any] = {}
    for key in {move.key for move, _ in told}:
        more |= server.lines.ask(key, "brief", [each["id"] for move, each in told if move.key == key]) or {}
    for move, each in told:
        yield each | {
            "up_rate": move.up_rate, "down_rate": move.down_rate, **_of_its_worker(more.get(each["id"])),
        }  # fmt: skip


def _of_its_worker(answer: Any) -> Object:
    """The rule, and the round trip to each end in seconds, None where it is not known."""
    found = answer if isinstance(answer, dict) else {}
    rtt = found.get("rtt")
    return {"rule": str(found.get("rule", "")), "rtt": {end: _time(rtt, end) for end in ("client", "target")}}


def _time(rtt: Any, end: str) -> float | None:
    try:
        return float(rtt[end])
    except (TypeError, KeyError, ValueError):
        return None


def _number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
        raise BadRequest(f"{name}= is a number up to {most}")
    return int(text)
