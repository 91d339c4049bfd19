"""Ten thousand tunnels at once: a thread each, with a small stack, and hardly any memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system import processes
from tests.system.conftest import Start
from tests.system.crowd import crowd
from tests.system.processes import eventually

TUNNELS = 10_000
STACK = 256 * 1024


def small_stacks(pid: int) -> int:
    """How many mappings of a process are as large as a stack should be."""
    spans = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw-p", Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE)
    return sum(int(end, 16) - int(start, 16) == STACK for start, end in spans)


# Coverage has one lock for the threads of a process, which thousands that wake at once fight for.
@pytest.mark.usefixtures("unmeasured")
def test_ten_thousand_idle_tunnels(server: Start, record_property: Callable[[str, object], None]) -> None:
    running = server("--workers", "4", "--threads", "5000", "-v")
    before = sum(map(processes.pss, running.pids))
    with crowd(running.endpoint, TUNNELS, processes=4) as tunnels:
        threads = sum(map(processes.threads, running.workers))
        assert threads >= TUNNELS
        assert threads - sum(map(small_stacks, running.workers)) < 50  # main threads and the log's
        memory = sum(map(processes.pss, running.pids))
        print(
            f"{TUNNELS} idle tunnels: {memory >> 20} MiB, {(memory - before) / TUNNELS / 1024:.1f} KiB each"
            f" (PSS of all {len(running.pids)} processes)"
        )
        record_property("pss_bytes", memory)
        tunnels.carry()
        tunnels.carry()
    assert eventually(
        lambda: all(re.search(r"\b0/5000 connections", processes.title(pid)) for pid in running.workers)
    )
    assert sum(map(processes.threads, running.workers)) < 100
    running.stop()
    ends = running.events("end")
    dropped = sum(int(line["lines"]) for line in running.events("log-dropped"))
    assert len(ends) + dropped == TUNNELS
    assert all((line["up"], line["down"]) == ("2", "2") for line in ends)
