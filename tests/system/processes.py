"""What /proc says about the processes of a server: who they are, what they hold (proc(5)); Linux only."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

GONE = (FileNotFoundError, ProcessLookupError)
# Longer than any step of a sound server takes on a machine that is busy with other things.
LONG = 60.0
LOOK = 0.02  # seconds between two looks at what does not call by itself

_WORKER = re.compile(r"forksocks: worker (\d+) \[generation (\d+), ")

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = LONG) -> T:
    """Wait until `condition` is true and return what it gave; its last value after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(LOOK)
    return found


def children(pid: int) -> list[int]:
    """The living children of a process, in the order of their birth."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(*GONE):
                if stat(int(entry.name))[1] == str(pid) and is_alive(int(entry.name)):
                    found.append(int(entry.name))
    return sorted(found)


def stat(pid: int) -> list[str]:
    """The words of /proc/PID/stat behind the name: state, parent, process group, session and so on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not.

    Killed, its first thread may be a zombie while others still have to be given the processor to die: until
    then they hold its descriptors, and one that was in accept(2) takes a client from the queue and dies with
    it.
    """
    with contextlib.suppress(*GONE):
        return stat(pid)[0] != "Z" or threads(pid) > 1
    return False


def is_stopped(pid: int) -> bool:
    """Whether every thread of a process is stopped by SIGSTOP."""
    with contextlib.suppress(*GONE):  # a thread that ended meanwhile: look again
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)
    return False


def status(pid: int) -> dict[str, str]:
    """/proc/PID/status by field."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def title(pid: int) -> str:
    """The title as ps(1) shows it; "" for a process that has ended."""
    with contextlib.suppress(*GONE):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").replace(b"\0", b" ").decode()
    return ""


def workers(supervisor: int) -> dict[tuple[int, int], int]:
    """The pids of the workers of a supervisor, by generation and number."""
    titles = {pid: title(pid) for pid in children(supervisor)}
    rows = {pid: _WORKER.match(text) for pid, text in titles.items()}
    return {(int(row[2]), int(row[1])): pid for pid, row in rows.items() if row}


def descriptors(pid: int) -> int:
    """How many descriptors are open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    """How many threads there are."""
    return len(os.listdir(f"/proc/{pid}/task"))


def cpu(pid: int) -> float:
    """CPU seconds that a process has used, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss(pid: int) -> int:
    """Proportional set size in bytes: a page shared by n processes counts 1/n in each."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("smaps_rollup has no Pss line")
