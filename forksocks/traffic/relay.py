"""Two sockets, both directions, one thread: bytes until both directions have ended.

Each direction is a Flow. It starts by copying; the first read that fills its buffer makes it bulk, and bulk
is spliced through a borrowed pipe where the system can. An EOF ends its own direction only: the other side is
told by shutdown(SHUT_WR), and the answer may still come. A reset is passed on as a reset.

poll(2) reports POLLHUP and POLLERR even to those who asked for nothing. That is how a reset is noticed while
bytes wait for the other side; but a socket that both sides have shut down says POLLHUP for ever, so it leaves
the poll set, or the tunnel would spin.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from time import monotonic

from forksocks.config.model import RelayKind, Timeouts
from forksocks.host import kernel
from forksocks.host.causes import Cause
from forksocks.host.scoreboard import slots
from forksocks.traffic.copy import copy
from forksocks.traffic.flow import Broken, Flow
from forksocks.traffic.pipes import Pipes

if kernel.HAS_SPLICE:
    from forksocks.traffic.splice import splice
else:

    def splice(flow: Flow, pipes: Pipes) -> None:
        """Copy: this system has no splice(2)."""
        copy(flow)


# A tunnel that has been silent this long is one that lasts: from here on keepalive watches its target. The
# short ones, which are most, do without those system calls.
LASTING = 30.0
# Whoever has not ended this many seconds after abort() waits for peers that do not read.
STUCK = 0.5

_READABLE, _WRITABLE, _GONE = select.POLLIN, select.POLLOUT, select.POLLERR | select.POLLHUP
_UNWATCHED = -1  # not in the poll set

Trace = Callable[[str], None]


def may_splice(kind: RelayKind) -> bool:
    """Whether this configuration, on this system, moves bulk by splice."""
    return kernel.HAS_SPLICE and kind is not RelayKind.COPY


class Relay:
    """One tunnel between `client` and `target`; `early` are bytes of the client that were read already.

    limits: `idle` and `half_closed` are how long both directions may be silent. slot: where every move is
    counted. The sockets stay the caller's to close.
    """

    def __init__(
        self,
        client: socket.socket,
        target: socket.socket,
        early: bytes,
        limits: Timeouts,
        pipes: Pipes | None,
        trace: Trace | None = None,
        slot: slots.Slot | None = None,
    ) -> None:
        self.client = client
        self.target = target
        self.slot = slot or slots.loose()
        splicing = pipes is not None
        self.up = Flow(client, target, early, splicing, self.slot.cells, self.slot.up)
        self.down = Flow(target, client, b"", splicing, self.slot.cells, self.slot.down)
        self._lasting = False
        self._limits = limits
        self._pipes = pipes
        self._trace = trace
        self._client_number = client.fileno()
        self._client_mask = self._target_mask = _READABLE
        self._plain = True
        self._poller = select.poll()
        self._poller.register(self._client_number, _READABLE)
        self._poller.register(target, _READABLE)
        self._patience = min(LASTING, limits.idle) * 1000
        self._unblocked = False
        self._aborted = 0.0
        self._first_end: Cause | None = None

    def moved(self) -> tuple[int, int]:
        """Bytes that were delivered: the client's, and the target's."""
        return self.up.moved, self.down.moved

    def abort(self) -> None:
        """Let `run` end now, from another thread, and the close of both sockets be a reset; call it again.

        Neither peer may be sent a FIN before: to many protocols that is the whole of the answer. Ending the
        receiving half alone sends nothing and wakes who waits for bytes. Who waits for room in two queues is
        woken by a FIN, which stays behind what the peer does not read; but only once that is sure.
        """
        now = monotonic()
        self._aborted = self._aborted or now
        self._reset(self.client, self.target)
        for flow in (self.up, self.down):
            with contextlib.suppress(OSError):
                flow.source.shutdown(socket.SHUT_RD)
            with contextlib.suppress(OSError):
                if flow.blocked and now - self._aborted >= STUCK:
                    flow.sink.shutdown(socket.SHUT_WR)

    def run(self) -> Cause:
        """Move bytes until the tunnel has ended; return why it did."""
        up, down = self.up, self.down
        try:
            if up.blocked:
                self._pump(up, down)
            while not (up.done and down.done):
                if not self._plain or up.blocked or down.blocked or up.ended or down.ended:
                    self._watch()
                events = self._poller.poll(self._patience) or self._last_chance()
                if self._aborted or not events:
                    return self._silence()
                for descriptor, event in events:
                    reading, writing = (up, down) if descriptor == self._client_number else (down, up)
                    if event & ~_WRITABLE and not (reading.blocked or reading.ended):
                        self._pump(reading, writing)
                    elif event & _GONE and not writing.blocked:
                        raise Broken(reading.source, kernel.pending_error(reading.source))
                    if event & ~_READABLE and writing.blocked:
                        self._pump(writing, reading)
        except Broken as broken:
            return self._break(broken)
        finally:
            self._return_pipes()
        assert self._first_end is not None
        return self._first_end

    def _watch(self) -> None:
        """Ask poll for what can be used now: bytes where none wait, room where some do.

        That both sockets are readable and nothing else matters is `_plain`, and what most tunnels always are.
        """
        self._client_mask = self._ask(self.client, self._client_mask, self.up, self.down)
        self._target_mask = self._ask(self.target, self._target_mask, self.down, self.up)
        self._plain = self._client_mask == self._target_mask == _READABLE

    def _ask(self, sock: socket.socket, before: int, reading: Flow, writing: Flow) -> int:
        mask = 0 if reading.blocked or reading.ended else _READABLE
        if writing.blocked:
            mask |= _WRITABLE
        elif not mask and writing.done:
            mask = _UNWATCHED
        if mask == before:
            return mask
        if mask == _UNWATCHED:
            self._poller.unregister(sock)
        else:
            self._poller.register(sock, mask)
        return mask

    def _last_chance(self) -> list[tuple[int, int]]:
        """The first silence of LASTING only shows that the tunnel lasts: wait out the rest of its limit."""
        limit = self._limits.half_closed if self._first_end else self._limits.idle
        if self._lasting or limit <= LASTING:
            return []
        self._lasting = True
        self._patience = limit * 1000
        kernel.tune_lasting(self.target)
        return self._poller.poll((limit - LASTING) * 1000)

    def _pump(self, flow: Flow, other: Flow) -> None:
        """Move what one direction has, in the way that suits it, and pass its end on."""
        if flow.pipe is None and not (flow.bulk and flow.splicing):
            copy(flow)
        if flow.pipe is not None or (
            flow.bulk and flow.splicing and (flow.pending or not (flow.blocked or flow.ended))
        ):
            self._splice(flow)
        if flow.ended and not flow.blocked:
            self._finish(flow, other)

    def _splice(self, flow: Flow) -> None:
        assert self._pipes is not None
        if not self._unblocked:
            self._unblocked = True
            self.client.setblocking(False)
            self.target.setblocking(False)
            kernel.tune_bulk(self.target)
            self.slot.spliced()
            if self._trace:
                self._trace("splice")
        splice(flow, self._pipes)

    def _finish(self, flow: Flow, other: Flow) -> None:
        flow.done = True
        if self._first_end is None:
            self._first_end = Cause.CLIENT_CLOSED if flow is self.up else Cause.TARGET_CLOSED
            limit = self._limits.half_closed
            self._patience = (limit if self._lasting else min(LASTING, limit)) * 1000
        if not (other.done or self._aborted):  # otherwise both are about to be closed, which says the same
            with contextlib.suppress(OSError):  # a reset, which the other direction will meet
                flow.sink.shutdown(socket.SHUT_WR)

    def _silence(self) -> Cause:
        self._reset(self.client, self.target)  # what a peer did not read would live on in the kernel
        return Cause.HALF_CLOSED if self._first_end else Cause.IDLE

    def _break(self, broken: Broken) -> Cause:
        self._reset(self.client, self.target)
        if self._first_end:
            return self._first_end
        return Cause.CLIENT_RESET if broken.side is self.client else Cause.TARGET_RESET

    def _reset(self, *sockets: socket.socket) -> None:
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(*kernel.RESET)

    def _return_pipes(self) -> None:
        for flow in (self.up, self.down):
            if flow.bulk:
                kernel.tune_parting(flow.sink)
            if flow.pipe is not None and self._pipes is not None:
                self._pipes.give(flow.pipe)
                flow.pipe = None
