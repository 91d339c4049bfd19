"""UDP ASSOCIATE (RFC 1928 section 7): one thread that waits for the control connection and for datagrams.

Datagrams of anybody else than the client, of remotes that it has not written to, and to where it may not, are
dropped and counted; nobody is ever answered with an error, which is how loops between two servers begin
(CVE-2024-2169). What ICMP has to say is about one remote, never about the association.

Sockets do not block: a turn takes up to ROUNDS datagrams of each. The buffer leaves room for a header before
an answer's payload, so that both are sent as they lie.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from collections.abc import Callable, Mapping
from time import monotonic

from forksocks.config.model import Accept, Fragments, Lock
from forksocks.host.causes import Cause
from forksocks.host.scoreboard.slots import Slot
from forksocks.traffic.allowance import Allowance
from forksocks.traffic.destinations import Destinations, Terms
from forksocks.traffic.peers import MEMORY, Peer, Remote, answer_header
from forksocks.wire import udp
from forksocks.wire.messages import AddressType, ProtocolError

ROUNDS = 64
PROBE = 16  # after so many turns of one datagram it is tried whether there are more
HEADROOM = udp.SIZES[AddressType.IPV6]
LARGEST = 65_536  # bytes of a datagram, header and all
MOST_CONTROL = 65_536  # bytes that are taken from the control connection in one turn; nothing is said there
PIECE = 32 * 1024  # bytes of a fragment, where an answer needs two


class Pace:
    """How many datagrams a turn takes: a receive in vain costs as much as a datagram."""

    __slots__ = ("_turns", "rounds")

    def __init__(self) -> None:
        self.rounds = 1
        self._turns = 0

    def no_more_came(self, got: int) -> None:
        """A turn got fewer than it asked for: ask for so many."""
        self.rounds = got or 1

    def all_came(self) -> None:
        """A turn got as many as it asked for: ask for more, but from one on not every time."""
        self._turns += 1
        if self.rounds > 1 or not self._turns % PROBE:
            self.rounds = min(ROUNDS, 2 * self.rounds)


class Association:
    """One association; `run` returns why it has ended. `front` and `control` stay the caller's to close.

    host: the client's address as recvfrom(2) writes it. port: where it sends from, 0 if it did not say.
    slot: where the scoreboard counts the bytes, turn by turn.
    """

    def __init__(
        self, control: socket.socket, front: socket.socket, host: str, port: int, terms: Terms, slot: Slot
    ) -> None:
        self._control = control
        self._front = front
        self._host = host
        self._client: Remote | None = None
        self._terms = terms
        self._slot = slot
        self._before = slot.cells[slot.up], slot.cells[slot.down]
        self._own: Remote = front.getsockname()
        self._destinations = Destinations(terms, self._own, self._watch_more)
        self._reassembly = udp.Reassembly()
        self._fragments_seen = False
        self._view = memoryview(bytearray(HEADROOM + LARGEST))
        self._incoming = self._view[HEADROOM:]
        self._reply: Callable[[memoryview | bytes], int] = self._reply_to_the_last
        self._now = monotonic()
        self._active = self._now
        self._poller = select.poll()
        self._allowance = Allowance(terms.config.rate) if terms.config.rate else None
        self._charged = 0
        self._serve: dict[int, Callable[[], Cause | None]] = {}
        self.up = self.down = 0
        self.sent = self.received = self.dropped = 0
        self._pace_up, self._pace_down = Pace(), Pace()
        if port:
            self._lock((host, port, *self._own[2:]))  # the scope of a link-local client is that of our end

    def moved(self) -> tuple[int, int]:
        """Payload bytes: the client's, and those for the client."""
        return self.up, self.down

    def counts(self) -> Mapping[str, int]:
        """Datagrams each way, those that were dropped, and those of them whose destination was refused."""
        return {
            "sent": self.sent,
            "received": self.received,
            "dropped": self.dropped + self._destinations.dropped,
            "denied": self._destinations.denied,
        }

    def abort(self) -> None:
        """Let `run` end now, from another thread; the client is not told."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RD)

    def run(self) -> Cause:
        """Relay datagrams until the control connection ends, or nothing has moved for the idle limit."""
        self._watch(self._control, self._hear_control)
        self._watch(self._front, self._take_from_client)
        try:
            while True:
                left = self._active + self._terms.idle() - self._now
                if left <= 0:
                    return Cause.IDLE
                if self._allowance is None:
                    events = self._poller.poll(left * 1000 + 1)
                else:
                    events = self._events_within(self._allowance, left)
                self._now = monotonic()
                for descriptor, _ in events:
                    cause = self._serve[descriptor]()
                    if cause is not None:
                        return cause
                self._count()
        finally:
            self._destinations.close()

    def _events_within(self, allowance: Allowance, left: float) -> list[tuple[int, int]]:
        """Wait as `run` does; when the rate is used up only for the control connection, until more may come.

        Meanwhile the kernel drops what its queues have no room for, and a flood costs nothing.
        """
        counted = self.counts()
        passed = counted["sent"] + counted["received"] + counted["dropped"]
        allowance.charge(passed - self._charged, self._now)
        self._charged = passed
        rest = allowance.rest(self._now)
        if not rest:
            return self._poller.poll(left * 1000 + 1)
        waiting = select.poll()
        waiting.register(self._control, select.POLLIN)
        return waiting.poll(min(rest, left) * 1000 + 1)

    def _count(self) -> None:
        cells = self._slot.cells
        cells[self._slot.up] = self._before[0] + self.up
        cells[self._slot.down] = self._before[1] + self.down

    def _watch(self, source: socket.socket | int, serve: Callable[[], Cause | None]) -> None:
        self._serve[source if isinstance(source, int) else source.fileno()] = serve
        self._poller.register(source, select.POLLIN)

    def _watch_more(self, source: socket.socket | int) -> None:
        if isinstance(source, int):
            self._watch(source, self._take_answers)
        else:
            self._watch(source, lambda: self._take_from_remotes(source))

    def _hear_control(self) -> Cause | None:
        """The association lives as long as this connection does; what is said on it is of no meaning."""
        try:
            return None if self._control.recv(MOST_CONTROL, socket.MSG_DONTWAIT) else Cause.CLIENT_CLOSED
        except BlockingIOError:
            return None
        except OSError:
            return Cause.CLIENT_RESET

    # From the client

    def _take_from_client(self) -> None:
        incoming, headers, now = self._incoming, self._destinations.peers.headers, self._now
        receive, client, pace = self._front.recvfrom_into, self._client, self._pace_up
        queued = self._reassembly.pieces  # with a queue, whole datagrams have to abandon it
        sizes = udp.SIZES.get
        sent = up = 0
        for turn in range(pace.rounds):
            try:
                size, source = receive(incoming)
            except BlockingIOError:
                pace.no_more_came(turn)
                break
            except OSError:
                continue
            if source != client:
                if not self._is_client(source):
                    self.dropped += 1
                    continue
                client = self._client
            start = sizes(incoming[3]) or udp.BESIDE_NAME + incoming[4]
            # Behind `size` the buffer holds what was there before.
            peer = headers.get(bytes(incoming[:start])) if start <= size else None
            if peer is None or peer.judged < now or queued:
                self._take_slowly(incoming[:size])
                continue
            try:
                peer.send(incoming[start:size], peer.remote)
            except OSError:
                self.dropped += 1
                continue
            peer.written = now
            sent += 1
            up += size - start
        else:
            pace.all_came()
        if sent:
            self._active = now
            self.sent += sent
            self.up += up

    def _is_client(self, source: Remote) -> bool:
        """Whether a datagram from `source` is the client's; the first one says which port it uses."""
        if source[0] != self._host:
            return False
        if self._client is None or self._terms.config.lock is Lock.ADDRESS:
            self._lock(source)
            return True
        return False

    def _lock(self, source: Remote) -> None:
        self._client = source
        if self._terms.config.lock is Lock.PORT:
            with contextlib.suppress(OSError):  # who else sends there, the kernel drops from now on
                self._front.connect(source)
                self._reply = self._front.send

    def _take_slowly(self, datagram: memoryview) -> None:
        """A datagram to a destination that is new or has to be judged again, a fragment, or rubbish."""
        try:
            fragment, host, port, start = udp.read_header(datagram)
        except ProtocolError:
            self.dropped += 1
            return
        header = bytes(datagram[:start])
        payload: memoryview | bytes = datagram[start:]
        if fragment:
            whole = self._reassemble(header, fragment, bytes(payload))
            if whole is None:
                return
            header, payload = b"\0\0\0" + header[3:], whole
        else:
            self._reassembly.abandon()
        peer = self._destinations.find(header, host, port, payload, self._now)
        if peer is not None:
            self._send(peer, payload)

    def _reassemble(self, header: bytes, fragment: int, payload: bytes) -> bytes | None:
        if self._terms.config.fragments is Fragments.DROP:
            self.dropped += 1
            return None
        self._fragments_seen = True
        return self._reassembly.add(header[3:], fragment, payload, self._now)

    def _send(self, peer: Peer, payload: memoryview | bytes) -> None:
        try:
            peer.send(payload, peer.remote)
        except OSError:
            self.dropped += 1
            return
        peer.written = self._active = self._now
        self.sent += 1
        self.up += len(payload)

    def _take_answers(self) -> None:
        """Names are known now: send what waited for them."""
        for peer, payload in self._destinations.answered(self._now):
            self._send(peer, payload)

    # For the client

    def _take_from_remotes(self, back: socket.socket) -> None:
        view, incoming, remotes = self._view, self._incoming, self._destinations.peers.remotes
        receive, reply, pace = back.recvfrom_into, self._reply, self._pace_down
        oldest = self._now - MEMORY
        any_remote = self._terms.config.accept is Accept.ANY
        received = down = 0
        for turn in range(pace.rounds):
            try:
                size, source = receive(incoming)
            except BlockingIOError:
                pace.no_more_came(turn)
                break
            except OSError:
                continue
            peer = remotes.get(source)
            if peer is not None and peer.written >= oldest:
                header = peer.header
            elif any_remote:
                header = answer_header(source)
            else:
                self.dropped += 1
                continue
            start = HEADROOM - len(header)
            view[start:HEADROOM] = header
            try:
                reply(view[start : HEADROOM + size])
            except OSError as error:
                if not self._give_pieces(error, start, size):
                    self.dropped += 1
                    continue
            received += 1
            down += size
        else:
            pace.all_came()
        if received:
            self._active = self._now
            self.received += received
            self.down += down

    def _give_pieces(self, error: OSError, start: int, size: int) -> bool:
        """Send what no datagram can hold beside its header in fragments, to a client that uses them."""
        if error.errno != errno.EMSGSIZE or not self._fragments_seen:
            return False
        packed, port = bytes(self._view[start + 4 : HEADROOM - 2]), bytes(self._view[HEADROOM - 2 : HEADROOM])
        payload = bytes(self._incoming[:size])
        try:
            for piece in udp.fragments(packed, int.from_bytes(port, "big"), payload, PIECE):
                self._reply(piece)
        except OSError:
            return False
        return True

    def _reply_to_the_last(self, datagram: memoryview | bytes) -> int:
        """Send to a client whose port may change; nobody answers before it has written."""
        assert self._client is not None
        return self._front.sendto(datagram, self._client)
