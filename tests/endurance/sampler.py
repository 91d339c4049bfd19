"""Looks at the server once a second: what it carries and what it holds."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from forksocks.verbs.asking import ask
from forksocks.verbs.verb import NoServer, Refused
from tests.endurance.target import Target
from tests.system import processes

CONNECTIONS = re.compile(r"(\d+)/\d+ connections\]")
GONE = (*processes.GONE, PermissionError)


@dataclass(frozen=True)
class Sample:
    """One look. at: monotonic clock; connections: as the workers' titles tell; bytes of memory are
    proportional set sizes."""

    at: float
    connections: int
    memory: int
    supervisor: int
    descriptors: int
    threads: int
    processes: int


@dataclass(frozen=True)
class Holdings:
    """What one process holds when nothing is under way."""

    role: str
    descriptors: int
    sockets: int
    threads: int


def look(target: Target) -> Sample:
    """Sum up all processes; one that ends meanwhile is left out."""
    connections, memory, supervisor, descriptors, threads, found = 0, 0, 0, 0, 0, 0
    serving = target.supervisor
    for pid in target.pids():
        with contextlib.suppress(*GONE, AssertionError):
            size = processes.pss(pid)
            memory += size
            supervisor = size if pid == serving else supervisor
            told = CONNECTIONS.search(processes.title(pid))
            connections += int(told[1]) if told else 0
            descriptors += processes.descriptors(pid)
            threads += processes.threads(pid)
            found += 1
    return Sample(time.monotonic(), connections, memory, supervisor, descriptors, threads, found)


def holdings(target: Target) -> list[Holdings]:
    """What every process holds now."""
    found = []
    for pid in target.pids():
        with contextlib.suppress(*GONE):
            role = processes.title(pid).split(" [")[0].removeprefix("forksocks: ").partition(" ")[0]
            links = [os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()]
            sockets = sum(link.startswith("socket:") for link in links)
            found.append(Holdings(role, len(links), sockets, processes.threads(pid)))
    return found


def totals(target: Target) -> dict[str, object] | None:
    """What the server says it has counted; None when nobody answers."""
    with contextlib.suppress(NoServer, Refused):
        return next(ask(target.socket, "status"), None)
    return None


class Sampler:
    """Samples in a thread until it is stopped."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.samples: list[Sample] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            self.samples.append(look(self._target))
