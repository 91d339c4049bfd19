"""The figures as a table: medians, forksocks' ratio to each peer, and the floor it has to keep."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

OURS = "forksocks"
PEERS = ("microsocks", "dante")

# figure -> proxy -> one value a repeat
Samples = Mapping[str, Mapping[str, Sequence[float]]]


@dataclass(frozen=True)
class Floor:
    """The least, or the most, that our median may be: absolute, or times the peer's median."""

    limit: float
    most: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value`, a figure or a ratio, keeps it."""
        return value <= self.limit if self.most else value >= self.limit

    def judge(self, value: float) -> str:
        """As it stands in the table: `>=4 pass`, `<=0.35 BELOW`."""
        return f"{'<=' if self.most else '>='}{self.limit:g} {'pass' if self.holds(value) else 'BELOW'}"


@dataclass(frozen=True)
class Row:
    """One figure: how it is called in the table, and its floors, `""` for the absolute one."""

    figure: str
    title: str
    floors: Mapping[str, Floor]
    digits: int = 0


FASTER = {"microsocks": Floor(4), "dante": Floor(1.2)}
CHEAPER = {"dante": Floor(0.35, most=True)}
MORE_CONNECTIONS = {"microsocks": Floor(0.7), "dante": Floor(2.2)}
MORE_DATAGRAMS = {"dante": Floor(1.8)}
MORE_DATAGRAMS_OF_MANY = {"dante": Floor(1.0)}

ROWS = (
    Row("down MB/s", "one stream down, MB/s", FASTER),
    Row("down CPU", "  CPU s per GB", CHEAPER, 3),
    Row("both MB/s", "both directions at once, MB/s", FASTER),
    Row("both CPU", "  CPU s per GB", CHEAPER, 3),
    Row("four MB/s", "four streams down, MB/s", {}),
    Row("four CPU", "  CPU s per GB", {}, 3),
    Row("syscalls/GB", "system calls per GB, one stream", {"": Floor(20_000, most=True)}),
    Row("connections/s", "connections/s, 16 clients", MORE_CONNECTIONS),
    Row("connection CPU us", "  CPU us per connection", {}),
    Row("connections/s after", "  after 3,000 tunnels came and went", MORE_CONNECTIONS),
    Row("failed", "  failed connections", {"": Floor(0, most=True)}),
    Row("connections/s in a flood", "  beside 2,000 silent ones", {}),
    Row("kept in a flood", "  of the rate without them, %", {"": Floor(90)}),
    Row("MB/s in a flood", "one stream beside them, MB/s", {}),
    Row("MB/s kept in a flood", "  of the rate without them, %", {}),
    Row("ping p50", "64-byte ping on one CPU, p50, us", {"microsocks": Floor(1.4, most=True)}, 1),
    Row("ping p99", "  p99, us", {}, 1),
    Row("ping p50 busy", "  p50 beside two downloads, us", {}, 1),
    Row("ping p99 busy", "  p99 beside two downloads, us", {}, 1),
    Row("tunnel KB", "PSS per idle tunnel, KB", {"": Floor(30, most=True)}, 1),
    Row("tunnels", "  tunnels held", {}),
    Row("1x64 B", "datagrams/s of 64 bytes, 1 association", MORE_DATAGRAMS),
    Row("1x64 CPU", "  CPU us of each", {}, 1),
    Row("1x1200 B", "  of 1,200 bytes", MORE_DATAGRAMS),
    Row("1x1200 CPU", "  CPU us of each", {}, 1),
    Row("64x64 B", "datagrams/s of 64 bytes, 64 associations", MORE_DATAGRAMS_OF_MANY),
    Row("64x64 CPU", "  CPU us of each", {}, 1),
    Row("64x1200 B", "  of 1,200 bytes", MORE_DATAGRAMS_OF_MANY),
    Row("64x1200 CPU", "  CPU us of each", {}, 1),
    Row("datagrams lost", "  lost, of a million", {}, 1),
    Row("datagrams overtaken", "  overtaken, of a million", {}, 1),
    Row("base MB", "  PSS without tunnels, MB", {}, 1),
)


def render(samples: Samples, proxies: Sequence[str]) -> str:
    """The table of every figure that was measured, one line each."""
    peers = [peer for peer in PEERS if peer in proxies and OURS in proxies]
    lines = [["", *proxies, *(["floor"] if OURS in proxies else []), *(f"to {peer}" for peer in peers)]]
    for row in ROWS:
        medians = {proxy: statistics.median(v) for proxy, v in samples.get(row.figure, {}).items() if v}
        if medians:
            lines.append(render_row(row, medians, proxies, peers))
    return align(lines)


def render_row(
    row: Row, medians: Mapping[str, float], proxies: Sequence[str], peers: Sequence[str]
) -> list[str]:
    """The cells of one figure."""
    cells = [row.title]
    cells += [f"{medians[proxy]:,.{row.digits}f}" if proxy in medians else "-" for proxy in proxies]
    if OURS not in proxies:
        return cells
    ours = medians.get(OURS)
    cells.append(row.floors[""].judge(ours) if ours is not None and "" in row.floors else "")
    for peer in peers:
        theirs = medians.get(peer)
        cells.append(ratio(ours / theirs, row.floors.get(peer)) if ours is not None and theirs else "")
    return cells


def ratio(value: float, floor: Floor | None) -> str:
    """`4.91x >=4 pass`; without a floor the ratio alone."""
    return f"{value:.2f}x {floor.judge(value)}" if floor else f"{value:.2f}x"


def align(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell: titles and ratios to the left, numbers to the right."""
    numbers = len([cell for cell in lines[0][1:] if cell != "floor" and not cell.startswith("to ")])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if 0 < index <= numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
