"""Log lines in processes with threads: a bounded queue and one thread that writes.

A session's thread never waits for the log. Where the sink cannot keep up, lines are dropped, the drops are
counted, and the count is logged as soon as the sink has room again, at most once a second.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable

from forksocks.host.log.sinks import Sink

QUEUE_LINES = 10_000
REPORT_EVERY = 1.0  # seconds between two lines about drops
RETRY = 1.0  # seconds before a failed sink (disk full, reader gone) is tried again
GATHER = 0.005  # seconds in which lines collect: two hundred wake-ups a second at most, however many lines


class Drops:
    """Lines lost since the last report; any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines = 0
        self._next_report = 0.0

    def add(self, lines: int = 1) -> None:
        """Count lines that were lost."""
        with self._lock:
            self._lines += lines

    def due(self) -> int:
        """How many to report now; 0: none, or the last report is too fresh."""
        if not self._lines:
            return 0
        with self._lock:
            now = time.monotonic()
            if now < self._next_report:
                return 0
            self._next_report = now + REPORT_EVERY
            lines, self._lines = self._lines, 0
            return lines

    def take(self) -> int:
        """How many there are that nobody has been told of; they count no more."""
        with self._lock:
            lines, self._lines = self._lines, 0
            return lines


class Writer:
    """The queue and its thread. `report` makes the line about drops; `tick` runs about once a second."""

    def __init__(
        self, sink: Sink, drops: Drops, report: Callable[[int], bytes], tick: Callable[[], None]
    ) -> None:
        self._sink = sink
        self._drops = drops
        self._report = report
        self._tick = tick
        # SimpleQueue is C: a put is a fifth of Queue's and never waits for a lock that a writer holds.
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue one line with its newline, or count it as dropped. Never waits."""
        if self._queue.qsize() < QUEUE_LINES:
            self._queue.put(line)
        else:
            self._drops.add()

    def close(self, seconds: float) -> bool:
        """Write what is queued, at most that long; False: the thread still sits in a write that hangs.

        What is still queued then is counted.
        """
        self._deadline = time.monotonic() + seconds
        self._closing.set()
        self._queue.put(None)
        self._thread.join(seconds)
        with contextlib.suppress(queue.Empty):
            while True:
                self._drops.add(self._queue.get_nowait() is not None)
        return not self._thread.is_alive()

    def _run(self) -> None:
        waiting: bytes | None = None  # a line that did not fit into the last batch
        while waiting is not None or not self._is_done():
            try:
                waiting = self._turn(waiting)
            except MemoryError:  # a line or a batch is lost; without this thread all others would be
                waiting = None
                self._drops.add()
                self._closing.wait(RETRY)

    def _turn(self, waiting: bytes | None) -> bytes | None:
        batch, waiting = self._gather(waiting)
        if batch:
            self._deliver(batch)
        self._tick()
        if (lost := self._drops.due()) and not self._deliver(self._report(lost)):
            self._drops.add(lost - 1)  # the report has been counted as one of them
        return waiting

    def _is_done(self) -> bool:
        return self._closing.is_set() and (not self._queue.qsize() or time.monotonic() > self._deadline)

    def _gather(self, waiting: bytes | None) -> tuple[bytes, bytes | None]:
        """The next batch, and the line that was too much for it."""
        lines = [waiting] if waiting is not None else []
        size = sum(map(len, lines))
        try:
            if not lines:
                first = self._queue.get(timeout=REPORT_EVERY)
                if first is None:
                    return b"", None
                lines.append(first)
                size = len(first)
                self._closing.wait(GATHER)
            while size < self._sink.batch:
                line = self._queue.get_nowait()
                if line is None:
                    break
                if size + len(line) > self._sink.batch:
                    return b"".join(lines), line
                lines.append(line)
                size += len(line)
        except queue.Empty:
            pass
        return b"".join(lines), None

    def _deliver(self, batch: bytes) -> bool:
        """Write all of it, again and again while the sink is full; while closing, until the deadline.

        What is given up then is counted; False if anything was.
        """
        sent = 0
        while sent < len(batch):
            try:
                sent += self._sink.write(batch[sent:])
            except BlockingIOError:
                self._pause(self._sink.wait)
            except OSError:
                if self._closing.is_set():
                    break
                self._closing.wait(RETRY)
                batch, sent = whole_lines(batch, sent), 0
            if self._closing.is_set() and time.monotonic() > self._deadline:
                break
        if sent < len(batch):
            self._drops.add(batch.count(b"\n", sent))
        return sent >= len(batch)

    def _pause(self, wait: Callable[[float], None]) -> None:
        """Until there is room; then a moment more, because other processes wait for the same room."""
        wait(min(RETRY, max(0.0, self._deadline - time.monotonic())))
        time.sleep(0.001)


def whole_lines(batch: bytes, sent: int) -> bytes:
    """What to send after a failure that took `sent` bytes: a line cut in two is ended and sent again."""
    start = batch.rfind(b"\n", 0, sent) + 1
    return batch[sent:] if start == sent else b"\n" + batch[start:]
