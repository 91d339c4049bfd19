"""What is served over HTTP: /metrics as Prometheus reads it, /livez and /readyz.

Every number is read off the scoreboard at the scrape. Labels have few values: listeners of the configuration
(those beyond MOST_LISTENERS are one), and words of tables of ours; no user, client or target. Every series of
these is there from the start, at 0.
"""

from __future__ import annotations

import importlib
import ipaddress
import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate
from operator import add
from typing import Any

from forksocks.host.causes import Cause
from forksocks.host.deadline import NS
from forksocks.host.scoreboard import reading
from forksocks.host.scoreboard.books import Seen, Unsettled
from forksocks.host.scoreboard.layout import (
    BOUNDS,
    COMMAND_NAMES,
    COUNTERS,
    LOGIN_NAMES,
    TIME_CELLS,
    TIMES,
)
from forksocks.host.web import Answer
from forksocks.status.frame import age
from forksocks.status.watch import Watch

MOST_LISTENERS = 64
OTHER = "other"  # the listener that stands for all further ones
TEXT = "text/plain; charset=utf-8"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus, "Exposition formats"
_PLACES = {name: place for place, name in enumerate(COUNTERS)}
_TIME_TEXTS = {
    "handshake": "From a client's accept to its request, with its login.",
    "resolve": "Look-ups of names for clients, with those that found none.",
    "connect": "Until an address of a destination answered, with those where none did.",
}
# How a process ended, as a label: the log has the signal or the status.
DEATHS = ("killed", "exited")


class Metrics:
    """Answers requests; safe for threads. Made before the process is confined: it imports.

    on_loopback: whether only this machine can ask.
    """

    def __init__(self, watch: Watch, on_loopback: bool) -> None:
        self._watch = watch
        self._on_loopback = on_loopback
        core: Any = importlib.import_module("prometheus_client.core")
        self._counter, self._gauge = core.CounterMetricFamily, core.GaugeMetricFamily
        self._histogram = core.HistogramMetricFamily
        self._generate = importlib.import_module("prometheus_client.exposition").generate_latest
        self._registry = core.CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._generate(self._registry)  # loads what it loads at its first use

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """Answer a request."""
        if method not in ("GET", "HEAD"):
            return "405 Method Not Allowed", TEXT, b"only GET\n"
        if not is_for_us(headers, self._on_loopback):
            return "403 Forbidden", TEXT, b"asked for under another name, or by a page of another site\n"
        try:
            if path == "/metrics":
                return "200 OK", EXPOSITION, self._generate(self._registry)
            if path == "/livez":
                return "200 OK", TEXT, b"alive\n"
            if path == "/readyz":
                why = not_ready(self._watch.see())
                return ("503 Service Unavailable" if why else "200 OK"), TEXT, f"{why or 'ready'}\n".encode()
        except Unsettled:
            return "503 Service Unavailable", TEXT, b"the supervisor has stopped in the middle of its books\n"
        return "404 Not Found", TEXT, b"there are /metrics, /livez and /readyz\n"

    def collect(self) -> Iterator[Any]:
        """Everything, as prometheus-client's registry asks for it. Raises Unsettled."""
        seen = self._watch.see()
        yield from self._server(seen)
        yield from self._workers(seen)
        yield from self._listeners(seen)
        yield from self._times(seen)

    def _server(self, seen: Seen) -> Iterator[Any]:
        facts = seen.facts
        info = self._gauge("forksocks_build_info", "The program that serves.", labels=("version", "python"))
        info.add_metric((str(facts.get("version")), platform.python_version()), 1)
        yield info
        reload = facts.get("outcomes", {}).get("reload", {})
        successful = not reload.get("error")
        for name, text, value in (
            ("uptime_seconds", "Time since this program was started.", age(facts.get("started_ns"))),
            (
                "config_generation",
                "Readings of the configuration that were served by.",
                facts.get("generation", 0),
            ),
            ("config_last_reload_successful", "Whether the last reload came to serve.", int(successful)),
            ("ready", "Whether new clients are served, as /readyz has it.", int(not not_ready(seen))),
        ):
            yield self._gauge(f"forksocks_{name}", text, value=value)
        deaths = self._counter(
            "forksocks_process_deaths", "Processes that ended unasked.",
            labels=("how",),
        )  # fmt: skip
        counted: Counter[str] = Counter()
        for how, number in seen.totals.deaths.items():
            counted["killed" if how.startswith("killed") else "exited"] += number
        for how in DEATHS:
            deaths.add_metric((how,), counted[how])
        yield deaths

    def _workers(self, seen: Seen) -> Iterator[Any]:
        states = dict.fromkeys(("starting", "serving", "draining"), 0)
        threads = dict.fromkeys(("busy", "idle"), 0)
        for process in seen.facts.get("processes", ()):
            board = self._watch.boards.get(process["key"])
            if process["role"] != "worker" or board is None:
                continue
            head = reading.head(board)
            draining = process["ending"] or head.draining
            states["draining" if draining else "serving" if process["ready"] else "starting"] += 1
            threads["busy"] += head.busy
            threads["idle"] += max(0, head.threads - head.busy)
        yield self._by("workers", "Workers of all generations.", "state", states)
        yield self._by("threads", "Threads of all workers.", "state", threads)
        most = seen.facts.get("threads", 0)
        yield self._gauge("forksocks_threads_limit", "Threads that each worker may have.", value=most)
        full, full_ns = seen.totals.heads
        yield self._counter("forksocks_full", "Times that all threads of a worker were busy.", value=full)
        text = "Time that all threads of a worker were busy."
        yield self._counter("forksocks_full_seconds", text, value=full_ns / NS)

    def _by(self, name: str, text: str, label: str, values: Mapping[str, int]) -> Any:
        family = self._gauge(f"forksocks_{name}", text, labels=(label,))
        for value, number in values.items():
            family.add_metric((value,), number)
        return family

    def _times(self, seen: Seen) -> Iterator[Any]:
        """How long steps of sessions took, as histograms over all listeners."""
        sums = [sum(column) for column in zip(*seen.totals.listeners.values(), strict=True)]
        for name, first in TIMES.items():
            spent, *counted = sums[first : first + TIME_CELLS] or [0] * TIME_CELLS
            buckets = zip(map(str, (*BOUNDS, "+Inf")), accumulate(counted), strict=True)
            text = _TIME_TEXTS[name]
            yield self._histogram(
                f"forksocks_{name}_duration_seconds", text, buckets=list(buckets), sum_value=spent / NS
            )

    def _listeners(self, seen: Seen) -> Iterator[Any]:
        sums = by_listener(seen)
        opened = self._gauge("forksocks_sessions", "Clients that are served now.", labels=("listener",))
        elsewhere = seen.before.listeners
        for name, counters in sums.items():
            before = reading.open_sessions(elsewhere.get(name, [0] * len(COUNTERS)))
            opened.add_metric((name,), max(0, reading.open_sessions(counters) - before))
        yield opened
        for name, text, label, places in (
            ("accepted", "Clients that were accepted.", "", {"": "accepted"}),
            ("relay_bytes", "Bytes that were relayed; up is to the target.", "direction",
             {"up": "up", "down": "down"}),
            ("logins", "Clients that were let in, by how.", "method",
             {each: f"login_{each}" for each in LOGIN_NAMES}),
            ("requests", "Requests, by what was asked for.", "command",
             {each: each for each in COMMAND_NAMES}),
            ("session_ends", "Ended sessions, by their cause.", "cause",
             {each.value: each.value for each in Cause}),
        ):  # fmt: skip
            labels = ("listener", label) if label else ("listener",)
            family = self._counter(f"forksocks_{name}", text, labels=labels)
            for listener, counters in sums.items():
                for value, counter in places.items():
                    family.add_metric((listener, value)[: len(labels)], counters[_PLACES[counter]])
            yield family


def by_listener(seen: Seen) -> dict[str, list[int]]:
    """The counters of each listener: those served, then those of before; MOST_LISTENERS and one in all."""
    names = [each["name"] for each in seen.facts.get("listeners", ())]
    found: dict[str, list[int]] = {}
    for name in dict.fromkeys([*names, *seen.totals.listeners]):
        counters = seen.totals.listeners.get(name, [0] * len(COUNTERS))
        if len(found) >= MOST_LISTENERS:
            name = OTHER
            counters = list(map(add, found.get(name, [0] * len(COUNTERS)), counters))
        found[name] = counters
    return found


def not_ready(seen: Seen) -> str:
    """Why nobody new is served; "" when somebody is."""
    state = str(seen.facts.get("state"))
    if state != "running":
        return state
    workers = [each for each in seen.facts.get("processes", ()) if each["role"] == "worker"]
    return "" if any(each["ready"] and not each["ending"] for each in workers) else "draining"


def is_for_us(headers: Mapping[str, str], on_loopback: bool) -> bool:
    """Whether no browser was tricked into asking: by a page of another site, or by a name that leads here.

    On loopback we are asked for by an address or "localhost"; any other name belongs to somebody who lets it
    lead to his victim's own machine.
    """
    host = headers.get("HTTP_HOST", "")
    origin = headers.get("HTTP_ORIGIN")
    if origin is not None and origin.partition("://")[2] != host:
        return False
    name = host if host.endswith("]") else host.partition(":")[0] if host.count(":") == 1 else host
    name = host.rpartition(":")[0] if "]:" in host else name
    if not on_loopback or name.lower() in ("", "localhost"):
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
