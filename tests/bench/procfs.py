"""What the kernel knows of a process and all its descendants (proc(5)); Linux only.

A process that ended between listing and reading is left out: that is what a tree in motion looks like.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
GONE = (FileNotFoundError, ProcessLookupError)

# Fields of /proc/PID/stat counted from behind the command's name, which may itself hold spaces and brackets.
PARENT = 1
CPU_TIMES = slice(11, 15)  # utime, stime, and both of children that were waited for


def tree(root: int) -> list[int]:
    """The process `root` and every descendant that is alive."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(*GONE):
                children.setdefault(int(stat_fields(int(entry.name))[PARENT]), []).append(int(entry.name))
    found = [root]
    for pid in found:  # grows while it is walked
        found.extend(children.get(pid, ()))
    return found


def cpu_seconds(root: int) -> float:
    """CPU time that the tree has used, with the children that were reaped; steps of a clock tick (10 ms)."""
    ticks = 0
    for pid in tree(root):
        with contextlib.suppress(*GONE):
            ticks += sum(int(field) for field in stat_fields(pid)[CPU_TIMES])
    return ticks / TICKS_PER_SECOND


def pss_bytes(root: int) -> int:
    """Proportional set size of the tree: a page shared by n processes counts 1/n in each."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(*GONE):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
