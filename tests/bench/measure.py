"""What is measured of a running proxy: one function a section, each giving its figures by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.bench import procfs
from tests.bench.flood import flooding
from tests.bench.generator import Generator
from tests.bench.proxies import WITHOUT_UDP, BenchError, Running, program

GB = 10**9
CLIENTS = 16
COME_AND_GONE = 3000
STRANGERS = 2000

# What a session of one tunnel needs beside the tunnels' own descriptors.
SPARE_DESCRIPTORS = 200

Figures = dict[str, float]


@dataclass(frozen=True)
class Amounts:
    """How much of everything one measurement takes."""

    stream_bytes: int = 4 * GB
    connection_seconds: float = 3.0
    ping_rounds: int = 20_000
    tunnels: int = 5000
    datagram_seconds: float = 3.0

    def within(self, descriptors: int) -> int:
        """As many tunnels as fit: a proxy of one process needs two descriptors for each."""
        return min(self.tunnels, (descriptors - SPARE_DESCRIPTORS) // 2)


@dataclass(frozen=True)
class Bench:
    """One proxy under measurement and what it is measured with."""

    proxy: Running
    generator: Generator
    amounts: Amounts
    descriptors: int
    scratch: Path

    def cpu(self) -> float:
        """CPU seconds the proxy has used so far."""
        return procfs.cpu_seconds(self.proxy.pid) if self.proxy.pid else 0.0


def streams(bench: Bench) -> Figures:
    """Bulk MB/s and CPU seconds per GB: one stream down, both ways at once, four streams down."""
    figures: Figures = {}
    total = bench.amounts.stream_bytes
    for name, direction, count, size in (
        ("down", "down", 1, total),
        ("both", "both", 1, total // 2),
        ("four", "down", 4, total),
    ):
        before = bench.cpu()
        result = bench.generator.stream(direction, count, size)
        figures[f"{name} MB/s"] = result["bytes"] / result["seconds"] / 1e6
        if bench.proxy.pid:
            figures[f"{name} CPU"] = (bench.cpu() - before) / (result["bytes"] / GB)
    return figures


def connections(bench: Bench) -> Figures:
    """Short connections per second, CPU of one, and the rate after many idle tunnels have come and gone."""
    seconds = bench.amounts.connection_seconds
    bench.generator.connections(CLIENTS, seconds / 10)  # what it starts on demand has started
    before = bench.cpu()
    first = bench.generator.connections(CLIENTS, seconds)
    used = bench.cpu() - before
    figures = {"connections/s": first["connections"] / first["seconds"], "failed": first["errors"]}
    if bench.proxy.pid:
        figures["connection CPU us"] = used / (first["connections"] + first["late"]) * 1e6
        bench.generator.hold(COME_AND_GONE)
        again = bench.generator.connections(CLIENTS, seconds)
        figures["connections/s after"] = again["connections"] / again["seconds"]
        figures["failed"] += again["errors"]
    return figures


def flood(bench: Bench) -> Figures:
    """Connections and bulk beside 2,000 silent ones that come again when they are cut."""
    if not bench.proxy.pid:
        return {}
    bench.generator.connections(CLIENTS, bench.amounts.connection_seconds / 10)
    alone = _rates(bench)
    with flooding(bench.proxy.port, STRANGERS):
        beside = _rates(bench)
    return {
        "connections/s in a flood": beside[0], "kept in a flood": 100 * beside[0] / alone[0],
        "MB/s in a flood": beside[1], "MB/s kept in a flood": 100 * beside[1] / alone[1],
    }  # fmt: skip


def _rates(bench: Bench) -> tuple[float, float]:
    """Short connections a second, and MB/s of one stream down."""
    some = bench.generator.connections(CLIENTS, bench.amounts.connection_seconds)
    stream = bench.generator.stream("down", 1, bench.amounts.stream_bytes)
    return some["connections"] / some["seconds"], stream["bytes"] / stream["seconds"] / 1e6


def ping(bench: Bench) -> Figures:
    """Round trip of 64 bytes in microseconds, all on one CPU."""
    result = bench.generator.ping(bench.amounts.ping_rounds)
    return {"ping p50": result["p50_us"], "ping p99": result["p99_us"]}


def busy_ping(bench: Bench) -> Figures:
    """The same beside two downloads, on all CPUs."""
    result = bench.generator.ping(bench.amounts.ping_rounds // 10, beside=2)
    return {"ping p50 busy": result["p50_us"], "ping p99 busy": result["p99_us"]}


def idle(bench: Bench) -> Figures:
    """Memory of the whole process tree: without tunnels, and what each idle tunnel adds."""
    if not bench.proxy.pid:
        return {}
    count = bench.amounts.within(bench.descriptors)
    bench.generator.connections(1, 0.1)
    before = procfs.pss_bytes(bench.proxy.pid)
    held = bench.generator.hold(count, lambda: procfs.pss_bytes(bench.proxy.pid))
    return {"base MB": before / 1e6, "tunnels": count, "tunnel KB": (held - before) / count / 1e3}


def udp(bench: Bench) -> Figures:
    """Datagrams per second there and back, 64 on their way in all; CPU of each; lost and overtaken ones."""
    if bench.proxy.name in WITHOUT_UDP:
        return {}
    figures: Figures = {"datagrams lost": 0.0, "datagrams overtaken": 0.0}
    for associations, window in ((1, 64), (64, 1)):
        for size in (64, 1200):
            before = bench.cpu()
            result = bench.generator.datagrams(associations, window, size, bench.amounts.datagram_seconds)
            figures[f"{associations}x{size} B"] = result["datagrams"] / result["seconds"]
            sent = result["datagrams"] + result["lost"]
            if bench.proxy.pid:
                figures[f"{associations}x{size} CPU"] = (bench.cpu() - before) / sent * 1e6
            for fate in ("lost", "overtaken"):
                figures[f"datagrams {fate}"] += result[fate] / sent / 4 * 1e6
    return figures


def syscalls(bench: Bench) -> Figures:
    """System calls of the proxy per GB of one download, counted by perf in the kernel's tracepoint."""
    if not bench.proxy.pid:
        return {}
    report = bench.scratch / "perf.csv"
    pids = ",".join(map(str, procfs.tree(bench.proxy.pid)))
    perf = (
        program("perf"),
        "stat",
        "-x,",
        "-e",
        "raw_syscalls:sys_enter",
        "-o",
        str(report),
        "-p",
        pids,
        "--",
    )
    result = bench.generator.stream("down", 1, bench.amounts.stream_bytes, wrapper=perf)
    counts = [line.split(",")[0] for line in report.read_text().splitlines() if "sys_enter" in line]
    if len(counts) != 1 or not counts[0].isdigit():
        raise BenchError(f"perf did not count: {report.read_text()}")
    return {"syscalls/GB": int(counts[0]) / (result["bytes"] / GB)}


SECTIONS: dict[str, Callable[[Bench], Figures]] = {
    "streams": streams,
    "connections": connections,
    "flood": flood,
    "ping": ping,
    "busy-ping": busy_ping,
    "idle": idle,
    "syscalls": syscalls,
    "udp": udp,
}

# Whether client, proxy and origin share a CPU, by luck, doubles or halves a round trip; these sections leave
# nothing to luck.
ON_ONE_CPU = frozenset({"ping"})
