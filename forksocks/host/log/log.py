"""One log per process: levels, fields, and nothing that a slow or broken reader can do to us.

A call never raises, waits or slows its caller because of where lines go, nor raises for want of memory. The
supervisor, which has no threads, writes at once and drops the line if the sink has no room; processes with
threads queue lines for one writer thread (`start_writer`). Drops are counted and logged.

No password may be given to any of these functions, and no message of an exception that a client's bytes can
shape: `crash` logs where, and which type, not what it says.
"""

from __future__ import annotations

import contextlib
import copy
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from forksocks.config.model import Level, LogConfig, LogFormat
from forksocks.host.log import flood, lines, sinks
from forksocks.host.log.writer import Drops, Writer

if TYPE_CHECKING:
    from forksocks.host.log.lines import Field

LEVEL_NAMES = {level: level.name.lower() for level in Level}
FRAMES = 20  # of a traceback, the innermost


class Log:
    """Where one process says what happens.

    `level` may be read to skip costly fields: `if log.level >= Level.DEBUG`. `name` says which process this
    is in lines about the log itself; a child sets its own.
    """

    def __init__(self, sink: sinks.Sink, config: LogConfig, name: str = "supervisor") -> None:
        self.level = config.level
        self.name = name
        self._config = config
        self._sink = sink
        self._json = config.format is LogFormat.JSON
        self._stamped = config.to == "syslog" or not self._json  # whether lines begin with the sink's head
        self._drops = Drops()
        self._flood = flood.Flood()
        self._writer: Writer | None = None
        self._torn = False  # the last write ended inside a line

    @classmethod
    def open(cls, config: LogConfig, name: str = "supervisor") -> Log:
        """Open what the configuration names; raises OSError with the file's name."""
        return cls(sinks.open_sink(config.to), config, name)

    def at(self, level: Level) -> Log:
        """The same log, with another level."""
        other = copy.copy(self)
        other.level = level
        return other

    def error(self, event: str, /, **fields: Field) -> None:
        """Something failed that should not have."""
        self.log(Level.ERROR, event, **fields)

    def notice(self, event: str, /, **fields: Field) -> None:
        """Something that an operator should see without having asked."""
        self.log(Level.NOTICE, event, **fields)

    def info(self, event: str, /, **fields: Field) -> None:
        """One line a session: `-v`."""
        self.log(Level.INFO, event, **fields)

    def debug(self, event: str, /, **fields: Field) -> None:
        """Each step of the protocol: `-vv`."""
        self.log(Level.DEBUG, event, **fields)

    def trace(self, event: str, /, **fields: Field) -> None:
        """Each decision about the system: `-vvv`."""
        self.log(Level.TRACE, event, **fields)

    def log(self, level: Level, event: str, /, **fields: Field) -> None:
        """Write one line, `event` being one word, with `fields` in the order given; None is left out.

        A float is a duration in seconds. Notices about a `client` are limited to ten a second for each
        source; how many were left out is logged afterwards.
        """
        if level > self.level:
            return
        try:
            if level is Level.NOTICE and "client" in fields:
                self._settle()
                if not self._flood.admits(str(fields["client"]), time.monotonic()):
                    return
            self._put(self._line(level, event, fields))
        except MemoryError:
            self._drops.add()

    def crash(self, error: BaseException, **fields: Field) -> None:
        """A bug: one `crash` line with the type of `error`, then one for each frame, outermost first."""
        self.log(Level.ERROR, "crash", **fields, error=type(error).__name__)
        with contextlib.suppress(MemoryError):
            for at in _frames(error.__traceback__):
                self.log(Level.ERROR, "crash-at", **fields, at=at)

    def start_writer(self, sharers: int = 1) -> None:
        """From now on lines go through a queue to a thread; call after fork, once.

        `sharers`: how many processes share the ten lines a second for each source, each taking its part.
        """
        self._flood = flood.Flood(max(1, flood.LINES // sharers))
        self._drops = Drops()
        self._writer = Writer(self._sink, self._drops, self._report_drops, self._settle)

    def owe(self, lines: int) -> None:
        """Count lines of another process, which has ended without a chance to say that it lost them."""
        self._drops.add(lines)

    def close(self, seconds: float) -> int:
        """Write what is queued, for at most that many seconds, and give the sink back.

        Returns how many lines have been lost, of those that the log does not tell of.
        """
        self._settle(float("inf"))
        writer, self._writer = self._writer, None
        # A thread that hangs in a write keeps its descriptor: the number must not become another file.
        if writer is None or writer.close(seconds):
            with contextlib.suppress(OSError):
                self._sink.close()
        return self._drops.take()

    def fileno(self) -> int:
        """The descriptor that lines go to."""
        return self._sink.fileno()

    def replace(self, fd: int) -> None:
        """Go on with `fd`, which now belongs to the log; the number of `fileno` stays the same."""
        self._sink.replace(fd)

    def prepare_for_sandbox(self, to: int, ask: Callable[[], object]) -> None:
        """Be ready for a sandbox: see Sink.prepare_for_sandbox."""
        self._sink.prepare_for_sandbox(to, ask)

    def duplicate(self) -> int:
        """Open one more descriptor of where lines go, for a child that asks; raises OSError."""
        return self._sink.duplicate()

    def reopen(self) -> int:
        """Open the file by its name again (it was moved away); returns `fileno`, to hand to the children.

        Raises OSError with the file's name, and then goes on with the old one. Does nothing for other sinks.
        """
        kind, _, path = self._config.to.partition(":")
        if kind == "file":
            self._sink.replace(sinks.open_file(Path(path)))
        return self._sink.fileno()

    def _line(self, level: Level, event: str, fields: dict[str, Field]) -> bytes:
        now = time.time()
        head = self._sink.head(level, now) if self._stamped else ""
        if self._json:
            line = head + lines.as_json(sinks.utc(now), LEVEL_NAMES[level], event, fields)
        else:
            line = lines.cut(head + lines.text(event, fields))
        return line.encode("ascii", "backslashreplace") + b"\n"

    def _put(self, line: bytes) -> None:
        if self._writer is not None:
            self._writer.put(line)
        elif (
            self._write_now(line)
            and (lost := self._drops.due())
            and not self._write_now(self._report_drops(lost))
        ):
            self._drops.add(lost - 1)  # the report has been counted as one of them

    def _write_now(self, line: bytes) -> bool:
        """Without a writer: now or never. False: the line was lost, and counted."""
        if self._torn:
            line = b"\n" + line
        try:
            sent = self._sink.write(line)
        except OSError:
            self._drops.add()
            return False
        self._torn = sent < len(line)
        if self._torn:
            self._drops.add()
        return not self._torn

    def _report_drops(self, lost: int) -> bytes:
        return self._line(Level.NOTICE, "log-dropped", {"by": self.name, "lines": lost})

    def _settle(self, now: float | None = None) -> None:
        """Say how many lines the limit kept out, once their second is over."""
        for source, left_out in self._flood.settle(time.monotonic() if now is None else now):
            self._put(self._line(Level.NOTICE, "log-limited", {"source": source, "lines": left_out}))


def _frames(trace: TracebackType | None) -> list[str]:
    """`file:line function` of the innermost frames; source lines stay out, they would only be long."""
    frames = traceback.extract_tb(trace)[-FRAMES:]
    return [f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
