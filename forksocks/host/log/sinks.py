"""Where log lines go: a descriptor (stderr, a file) or the system's log daemon.

A sink's `write` does not wait: it takes bytes, or raises BlockingIOError, or another OSError. Whoever
shares stderr with us keeps it as it is, so O_NONBLOCK is only ever set on a description of our own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from forksocks.config.model import Level
from forksocks.host.sandbox.descriptors import lower, lower_sockets

# Up to this much a pipe takes whole or not at all, and lines of several processes stay apart (pipe(7)).
PIPE_BATCH = 4096
# O_APPEND writes to a regular file are whole whatever their size.
FILE_BATCH = 65536
FILE_MODE = 0o640

FACILITY_DAEMON = 3 << 3  # RFC 3164 section 4.1.1
SEVERITY = {Level.ERROR: 3, Level.NOTICE: 5, Level.INFO: 6, Level.DEBUG: 7, Level.TRACE: 7}
SYSLOG_SOCKETS = ("/dev/log", "/var/run/log", "/var/run/syslog")  # Linux, FreeBSD, macOS


class Sink(Protocol):
    """One place that lines go to. `batch` is the most bytes that one write should hold; 0: one line."""

    batch: int

    def head(self, level: Level, now: float) -> str:
        """What a line begins with, before its event."""

    def write(self, lines: bytes) -> int:
        """Hand over whole lines without waiting; returns how many bytes were taken."""

    def wait(self, seconds: float) -> None:
        """Wait until a write may succeed, at most that long."""

    def fileno(self) -> int:
        """The descriptor behind it."""

    def replace(self, fd: int) -> None:
        """Go on with another descriptor, which now belongs to the sink; the number stays the same."""

    def prepare_for_sandbox(self, to: int, ask: Callable[[], object]) -> None:
        """Be ready for a sandbox, in which nothing can be opened.

        to: the number for a descriptor that others share. ask: asks the supervisor for a `duplicate`,
        which then comes to `replace`.
        """

    def duplicate(self) -> int:
        """Open one more descriptor of the same, for a child that cannot; raises OSError."""

    def close(self) -> None:
        """Give the descriptor back."""


def utc(now: float) -> str:
    """The time as it begins a line: `2026-11-24T04:00:00.123Z`."""
    second, millisecond = divmod(int(now * 1000), 1000)
    return f"{_utc_second(second)}.{millisecond:03d}Z"


_lately: tuple[int, str] = (0, "1970-01-01T00:00:00")


def _utc_second(second: int) -> str:
    """The last answer is kept: strftime costs as much as the rest of a line. Replaced whole, so no lock."""
    global _lately
    known, shown = _lately
    if known != second:
        shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _lately = second, shown
    return shown


class DescriptorSink:
    """Lines to a descriptor that the sink owns."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._look()

    def _look(self) -> None:
        mode = os.fstat(self._fd).st_mode
        self._is_file = stat.S_ISREG(mode)
        self.batch = FILE_BATCH if self._is_file else PIPE_BATCH
        self._is_socket = stat.S_ISSOCK(mode)
        waits = not fcntl.fcntl(self._fd, fcntl.F_GETFL) & os.O_NONBLOCK
        self._may_block = waits and not self._is_file and not self._is_socket

    def head(self, level: Level, now: float) -> str:
        """The time; the level goes without saying."""
        return f"{utc(now)} "

    def write(self, lines: bytes) -> int:
        """See Sink."""
        if self._fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._is_socket:  # journald's stderr
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, self._fd)
            try:
                return connection.send(lines, socket.MSG_DONTWAIT)
            finally:
                connection.detach()
        if self._may_block and not self._has_room(0):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return os.write(self._fd, lines)

    def _has_room(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def wait(self, seconds: float) -> None:
        """See Sink."""
        self._has_room(seconds)

    def fileno(self) -> int:
        """See Sink."""
        return self._fd

    def replace(self, fd: int) -> None:
        """See Sink; a write that is under way in another thread ends where it began."""
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)
        # In a sandbox nothing can be looked at; only files are replaced, and by files.
        with contextlib.suppress(PermissionError, FileNotFoundError):
            self._look()

    def prepare_for_sandbox(self, to: int, ask: Callable[[], object]) -> None:
        """See Sink. A file stays where it can be replaced: who shares it can do it no harm."""
        self._fd = lower(self._fd, to)
        if not self._is_file:
            old, self._fd = self._fd, to
            os.dup2(old, to, inheritable=False)
            os.close(old)

    def duplicate(self) -> int:
        """See Sink."""
        return os.dup(self._fd)

    def close(self) -> None:
        """See Sink."""
        fd, self._fd = self._fd, -1  # what gets the number next must not get our lines
        os.close(fd)


class SyslogSink:
    """Datagrams to the system's log daemon, in the form that syslog(3) sends.

    Not the syslog module: its send waits for a daemon that has stopped reading, and a supervisor that waits
    there no longer restarts its workers.
    """

    batch = 0

    def __init__(self, path: str | None = None, ident: str = "forksocks") -> None:
        """Connect to `path`, by default the first of SYSLOG_SOCKETS that is there; raises OSError."""
        self._path = path or next(filter(_is_socket, SYSLOG_SOCKETS), SYSLOG_SOCKETS[0])
        self._ident = ident
        self._socket = self._connect()
        self._ask: Callable[[], object] | None = None

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            connection.setblocking(False)  # a description of our own
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            raise OSError(error.errno, error.strerror, self._path) from None
        return connection

    def head(self, level: Level, now: float) -> str:
        """Priority, local time and program (RFC 3164 section 4.1, as glibc and musl write it)."""
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(now))
        return f"<{FACILITY_DAEMON | SEVERITY[level]}>{stamp} {self._ident}[{os.getpid()}]: "

    def write(self, lines: bytes) -> int:
        """See Sink; a daemon that was restarted is connected to anew, or asked for where we cannot."""
        try:
            self._send(lines)
        except BlockingIOError:
            raise
        except OSError:  # ECONNREFUSED once, then ENOTCONN
            if self._ask is not None:
                self._ask()
                raise
            self._reconnect()
            self._send(lines)
        return len(lines)

    def _send(self, lines: bytes) -> None:
        self._socket.send(lines.rstrip(b"\n"))

    def _reconnect(self) -> None:
        connection = self._connect()
        os.dup2(connection.fileno(), self._socket.fileno(), inheritable=False)
        connection.close()

    def prepare_for_sandbox(self, to: int, ask: Callable[[], object]) -> None:
        """See Sink. A connection of our own, so that nobody who shares it can end it."""
        lower_sockets([self._socket], to)
        with contextlib.suppress(OSError):  # the daemon is down: asked for at the first line
            self._reconnect()
        self._ask = ask

    def duplicate(self) -> int:
        """See Sink."""
        return self._connect().detach()

    def wait(self, seconds: float) -> None:
        """See Sink."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLOUT)
        poll.poll(seconds * 1000)

    def fileno(self) -> int:
        """See Sink."""
        return self._socket.fileno()

    def replace(self, fd: int) -> None:
        """See Sink."""
        os.dup2(fd, self._socket.fileno(), inheritable=False)
        os.close(fd)

    def close(self) -> None:
        """See Sink."""
        self._socket.close()


def open_file(path: Path) -> int:
    """Open or create a log file (0640) to append to; raises OSError with its name.

    A symbolic link in the last place is refused: whoever may write the directory would choose which file
    we write to as root (CVE-2016-1247).
    """
    flags = (
        os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    )
    try:
        return os.open(path, flags, FILE_MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(error.errno, "is a symbolic link, which a log file may not be", str(path)) from None
        raise


def _is_socket(path: str) -> bool:
    """/var/run/log is a directory where there is systemd."""
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def private_copy(fd: int) -> int:
    """A descriptor of our own for what `fd` refers to, above the standard three.

    A pipe or terminal is opened anew where the system allows it (through /proc), because only a description
    of its own can be non-blocking without the others who share stderr noticing. Anything else is a dup. A
    closed `fd` gives /dev/null: lines must not go to whatever gets that number next.
    """
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return _above_standard(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
    if stat.S_ISFIFO(mode) or os.isatty(fd):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with contextlib.suppress(OSError):  # no /proc, or another user's terminal: the dup below will do
            return _above_standard(os.open(f"/proc/self/fd/{fd}", flags))
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def _above_standard(fd: int) -> int:
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def open_sink(to: str) -> Sink:
    """The sink that the configuration names: "stderr", "syslog" or "file:/path"; raises OSError."""
    if to == "syslog":
        try:
            return SyslogSink()
        except OSError as error:
            why = f'no syslog daemon answers there ({error.strerror}); write to = "file:/path" in [log]'
            raise OSError(error.errno, why, error.filename) from None
    if to.startswith("file:"):
        return DescriptorSink(_above_standard(open_file(Path(to.removeprefix("file:")))))
    return DescriptorSink(private_copy(2))
