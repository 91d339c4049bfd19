"""The columns of the tunnels, and which of them a screen has room for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forksocks.verbs.tables import age, printable, size


@dataclass(frozen=True, slots=True)
class Column:
    """show: makes the text of a row. order: the sort that goes by it. most: cells up to which it grows."""

    title: str
    width: int
    show: Callable[[Mapping[str, Any]], str]
    order: str = ""
    right: bool = False
    keep_end: bool = False
    most: int = 0


def _text(field: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: printable(row.get(field, ""))


def _rate(field: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: size(row[field]) if row[field] >= 0.5 else "-"


def _client(row: Mapping[str, Any]) -> str:
    """Without its port, which tells nobody anything."""
    client = str(row["client"])
    return printable(client.rpartition(":")[0].strip("[]") if ":" in client else client)


def round_trip(row: Mapping[str, Any]) -> str:
    """To the client and to the target, in milliseconds: `0.2/38`."""
    rtt = row["rtt"]
    return "-" if rtt["client"] is rtt["target"] is None else f"{_ms(rtt['client'])}/{_ms(rtt['target'])}"


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    ms = seconds * 1000
    return f"{ms:.1f}" if ms < 9.95 else f"{ms:.0f}" if ms < 999.5 else f"{seconds:.1f}s"


# In the order in which they stand.
COLUMNS = (
    Column("ID", 16, _text("id"), most=24),
    Column("USER", 8, _text("user"), "user", most=24),
    Column("CLIENT", 15, _client, "client", keep_end=True, most=39),
    Column("TARGET", 16, _text("to"), "to", keep_end=True, most=48),
    Column("RULE", 10, _text("rule"), most=20),
    Column("AGE", 6, lambda row: age(row["age"]), "age", right=True),
    Column("IDLE", 6, lambda row: age(row["idle"]), "idle", right=True),
    Column("UP/s", 6, _rate("up_rate"), "up_rate", right=True),
    Column("DOWN/s", 6, _rate("down_rate"), "down_rate", right=True),
    Column("TOTAL", 6, lambda row: size(row["up"] + row["down"]), "total", right=True),
    Column("RTT ms", 8, round_trip, right=True),
    Column("STATE", 9, _text("state"), "state"),
)
# In the order in which they are given up where there is no room, the last one first; the first few grow.
IMPORTANT = (
    "TARGET", "DOWN/s", "UP/s", "USER", "AGE", "CLIENT", "TOTAL", "RTT ms", "IDLE", "STATE", "RULE", "ID",
)  # fmt: skip


def fitting(room: int) -> Sequence[tuple[Column, int]]:
    """Those that fit, with a cell between two, and how wide each is."""
    by_title = {column.title: column for column in COLUMNS}
    widths: dict[str, int] = {}
    left = room + 1
    for title in IMPORTANT:
        left -= by_title[title].width + 1
        if left < 0:
            left += by_title[title].width + 1
            break
        widths[title] = by_title[title].width
    growing = [title for title in IMPORTANT if title in widths and by_title[title].most]
    while left and any(widths[title] < by_title[title].most for title in growing):
        for title in growing:
            if left and widths[title] < by_title[title].most:
                widths[title] += 1
                left -= 1
    return [(column, widths[column.title]) for column in COLUMNS if column.title in widths]
