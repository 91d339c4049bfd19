"""How often one client may appear in lines that are logged without having been asked for.

A refused client may come back ten thousand times a second, and a log that follows it is itself an attack.
Sources are what one subscriber has (host.subscriber). The table is bounded; sources that find no room in it
share one entry.
"""

from __future__ import annotations

import threading
from ipaddress import AddressValueError, IPv6Address

from forksocks.host.subscriber import named

LINES = 10  # per source
WINDOW = 1.0  # seconds
SOURCES = 1024
OTHERS = "others"

_Window = tuple[float, int]  # when it ends, how many lines came


def source(client: str) -> str:
    """The source that a `client` field ("192.0.2.1:5121", "[2001:db8::1]:5121", "unix") belongs to."""
    if not client.startswith("["):
        return client.partition(":")[0]
    try:
        return named(IPv6Address(client[1:].partition("]")[0].partition("%")[0]))
    except AddressValueError:
        return client


class Flood:
    """Counts lines per source and second. Thread-safe."""

    def __init__(self, lines: int = LINES) -> None:
        self._lines = lines
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}
        self._next_sweep = 0.0

    def admits(self, client: str, now: float) -> bool:
        """Whether a line about this client may be written; `now` is monotonic seconds."""
        name = source(client)
        with self._lock:
            if name not in self._windows and len(self._windows) >= SOURCES:
                name = OTHERS
            end, count = self._windows.get(name, (now + WINDOW, 0))
            self._windows[name] = end, count + 1
            return count < self._lines

    def settle(self, now: float) -> list[tuple[str, int]]:
        """Forget windows that are over; returns the sources that had too many lines, and how many."""
        if now < self._next_sweep:
            return []
        with self._lock:
            self._next_sweep = now + WINDOW / 4
            over = [name for name, (end, _) in self._windows.items() if end <= now]
            counts = [(name, self._windows.pop(name)[1] - self._lines) for name in over]
        return [(name, lines) for name, lines in counts if lines > 0]
