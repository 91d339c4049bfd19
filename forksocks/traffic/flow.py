"""One direction of a tunnel: what the two ways to move bytes, copy and splice, share.

Bytes that left the source and were refused by the sink are never dropped: they wait in `pending` or in
`pipe`, and while they wait (`blocked`) nothing more is taken from the source.
"""

from __future__ import annotations

import errno
import socket

from forksocks.traffic.pipes import Pipe

# Linux: one call does not block, and the socket keeps its mode; POSIX has both names (recv(2), send(2)).
NO_WAIT = socket.MSG_DONTWAIT
QUIETLY = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)

# A first read this large and full shows a flow that is bulk; twice a TLS record would already be patience.
SMALL = 16 * 1024
BULK = 256 * 1024
# How often one direction may move bytes before the other gets its turn.
ROUNDS = 8

# The machine is short of something; the peer is well.
SHORTAGES = frozenset(
    {errno.ENOMEM, errno.ENOBUFS, errno.EMFILE, errno.ENFILE, errno.EINVAL, errno.ENOSYS, errno.EPERM}
)


class Broken(Exception):
    """A socket of the tunnel failed: `side` is that socket, `error` what the kernel said."""

    def __init__(self, side: socket.socket, error: OSError) -> None:
        super().__init__(error)
        self.side = side
        self.error = error


class Flow:
    """Bytes on their way from `source` to `sink`; `early` have left the source already.

    cells, cell: where the scoreboard counts the bytes that the sink has taken, at every single move, so that
    even kill -9 loses none. total: the same number, of all sessions that this cell has seen; moved: those of
    this one. bulk: a read has filled its buffer. ended: the source has sent its last byte. done: the sink has
    been told so. splicing: whether a pipe may be used.
    """

    __slots__ = (
        "before", "blocked", "bulk", "cell", "cells", "done", "ended", "pending", "pipe", "sink", "small",
        "source", "splicing", "total",
    )  # fmt: skip

    def __init__(
        self,
        source: socket.socket,
        sink: socket.socket,
        early: bytes,
        splicing: bool,
        cells: memoryview[int],
        cell: int,
    ) -> None:
        self.cells = cells
        self.cell = cell
        self.before = self.total = cells[cell]
        self.source = source
        self.sink = sink
        self.pending: bytes | memoryview = early
        self.pipe: Pipe | None = None
        self.blocked = bool(early)
        self.bulk = False
        self.small = 0
        self.splicing = splicing
        self.ended = False
        self.done = False

    @property
    def moved(self) -> int:
        """Bytes of this session that the sink has taken."""
        return self.total - self.before

    def receive(self, size: int) -> bytes:
        """Take up to `size` bytes; b"" is either nothing yet or, with `ended` set, the end."""
        try:
            data = self.source.recv(size, NO_WAIT)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise Broken(self.source, error) from error
        if not data:
            self.ended = True
        return data

    def send(self, data: bytes | memoryview) -> None:
        """Give `data` to the sink; what it does not take now waits in `pending`."""
        try:
            sent = self.sink.send(data, QUIETLY)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise Broken(self.sink, error) from error
        self.cells[self.cell] = self.total = self.total + sent
        self.blocked = sent < len(data)
        self.pending = memoryview(data)[sent:] if self.blocked else b""
