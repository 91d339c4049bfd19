"""A worker's pen: its main thread writes the head, each session's thread writes that session's slot.

The calls that a session makes are few and made of stores, for they are in the way of every connection.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from ipaddress import IPv4Address, IPv6Address
from time import monotonic_ns

from forksocks.config.model import Address
from forksocks.host.causes import Cause
from forksocks.host.scoreboard import layout
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.layout import (
    ACCEPTED,
    BEGIN,
    CELL,
    COMMAND,
    COMMANDS,
    CONNECT_TIME,
    DOWN,
    ENDS,
    HANDSHAKE_TIME,
    HEAD_CELLS,
    HOST,
    HOST_KIND,
    HOST_ROOM,
    IPV4,
    IPV6,
    LISTENER,
    LOGINS_NONE,
    LOGINS_PASSWORD,
    NAME,
    PORT,
    REACHED,
    REACHED_KIND,
    RESOLVE_TIME,
    SLOT_CELLS,
    SPLICE,
    STARTED,
    STATE,
    UP,
    USER,
    USER_ROOM,
    WAY,
    State,
)  # fmt: skip
from forksocks.wire.messages import COMMAND_WORDS

# As plain numbers: naming an enum's member costs more than storing it.
HANDSHAKE, AUTH, RESOLVE, CONNECT, TUNNEL = map(
    int, (State.HANDSHAKE, State.AUTH, State.RESOLVE, State.CONNECT, State.TUNNEL)
)
CLOSING, FREE = int(State.CLOSING), int(State.FREE)
ADDRESSES = (IPv4Address, IPv6Address)
BOUNDS_NS = [int(bound * 1_000_000_000) for bound in layout.BOUNDS]
LOW = 2**64 - 1  # the lower half of an IPv6 address
COMMAND_CELLS = {command: COMMANDS + place for place, command in enumerate(COMMAND_WORDS)}
OTHER_COMMANDS = COMMANDS + len(COMMAND_WORDS)


class Slot:
    """Where one session at a time is written. `cells` and the indexes `up` and `down` are for its relay."""

    __slots__ = ("at", "cells", "down", "listener", "logins", "memory", "up")

    def __init__(self, memory: memoryview, cells: memoryview[int], at: int, listener: int) -> None:
        self.memory = memory
        self.cells = cells
        self.at = at
        self.listener = listener
        self.up = at + UP
        self.down = at + DOWN
        self.logins = LOGINS_NONE
        cells[at + LISTENER] = listener

    def begin(self, number: int, client: str) -> None:
        """A client has been accepted."""
        at, cells = self.at, self.cells
        BEGIN.pack_into(
            self.memory, (at + STATE) * CELL,
            HANDSHAKE, number, monotonic_ns(), cells[self.up], cells[self.down], 0, 0, 0, 0, 0,
            client.encode(),
        )  # fmt: skip
        self.logins = LOGINS_NONE
        cells[at + ACCEPTED] += 1

    def login(self, user: bytes, logins: int = LOGINS_PASSWORD) -> None:
        """The client has said who it is, and that is being verified. logins: the cell that counts them."""
        self.logins = logins
        self._write(USER, USER_ROOM, user)
        self.cells[self.at + STATE] = AUTH

    def asked(self, command: int, host: Address | str | bytes, port: int) -> None:
        """The client is let in so far, and has said what it wants; its command as RFC 1928 numbers it."""
        at, cells = self.at, self.cells
        cells[at + COMMAND] = command
        cells[at + PORT] = port
        cells[at + self.logins] += 1
        self._took(HANDSHAKE_TIME, monotonic_ns() - cells[at + STARTED])
        cells[at + COMMAND_CELLS.get(command, OTHER_COMMANDS)] += 1
        if isinstance(host, ADDRESSES):
            self._write_address(at + HOST, at + HOST_KIND, host)
            cells[at + STATE] = CONNECT
            return
        self._write(HOST, HOST_ROOM, host if isinstance(host, bytes) else host.encode())
        cells[at + HOST_KIND] = NAME
        cells[at + STATE] = RESOLVE

    def resolved(self, seconds: float) -> None:
        """There is an answer to the name, or none, after so long."""
        self._took(RESOLVE_TIME, int(seconds * 1e9))

    def connecting(self) -> None:
        """The name is looked up, its addresses are dialled."""
        self.cells[self.at + STATE] = CONNECT

    def dialled(self, seconds: float) -> None:
        """An address has answered, or none, after so long."""
        self._took(CONNECT_TIME, int(seconds * 1e9))

    def reached(self, address: Address) -> None:
        """The tunnel is open, to this address."""
        at = self.at
        self._write_address(at + REACHED, at + REACHED_KIND, address)
        self.cells[at + STATE] = TUNNEL

    def relaying(self) -> None:
        """Datagrams are relayed, to wherever the client sends them."""
        self.cells[self.at + STATE] = TUNNEL

    def spliced(self) -> None:
        """Bulk goes through a pipe from here on."""
        self.cells[self.at + WAY] = SPLICE

    def closing(self) -> None:
        """The session is over but for its last bytes."""
        self.cells[self.at + STATE] = CLOSING

    def end(self, cause: Cause) -> None:
        """It has ended: the one store that counts it."""
        at, cells = self.at, self.cells
        cells[at + ENDS + cause.number] += 1
        cells[at + STATE] = FREE

    def _took(self, cell: int, nanoseconds: int) -> None:
        """Count a time: the bucket after the sum."""
        cells, first = self.cells, self.at + cell
        cells[first] += nanoseconds
        cells[first + 1 + bisect_left(BOUNDS_NS, nanoseconds)] += 1

    def _write(self, cell: int, room: int, text: bytes) -> None:
        """Put a text, cut to its room."""
        first = (self.at + cell) * CELL
        text = (text + b"\0")[:room]
        self.memory[first : first + len(text)] = text

    def _write_address(self, cell: int, kind: int, address: Address) -> None:
        number, cells = int(address), self.cells
        if isinstance(address, IPv4Address):
            cells[cell] = number
            cells[kind] = IPV4
        else:
            cells[cell] = number >> 64
            cells[cell + 1] = number & LOW
            cells[kind] = IPV6


def loose() -> Slot:
    """A slot on no board, for a relay that nobody watches."""
    memory = memoryview(bytearray(SLOT_CELLS * CELL))
    return Slot(memory, memory.cast("Q"), 0, 0)


class Slots:
    """All slots of one worker. Safe for threads: a list's append and pop are atomic."""

    def __init__(self, board: Board) -> None:
        self._memory = memoryview(board.writable)
        self._cells: memoryview[int] = self._memory.cast("Q")
        self._used = 0
        self._free: list[list[Slot]] = [[] for _ in board.listeners]
        self._lock = threading.Lock()

    def take(self, listener: int) -> Slot:
        """Return a free slot of a listener, by its index: as many as threads, so there is always one."""
        try:
            return self._free[listener].pop()
        except IndexError:
            return self._new(listener)

    def give(self, slot: Slot) -> None:
        """Take back a slot whose session has ended."""
        self._free[slot.listener].append(slot)

    def beat(self, threads: int, busy: int, waiting: int, draining: bool) -> None:
        """Write the head; main thread."""
        cells = self._cells
        cells[layout.THREADS] = threads
        cells[layout.BUSY] = busy
        cells[layout.WAITING] = waiting
        cells[layout.DRAINING] = draining
        cells[layout.HEARTBEAT] = monotonic_ns()

    def full(self, times: int, nanoseconds: int) -> None:
        """Write how often, and for how long in all, every thread was busy; main thread."""
        self._cells[layout.FULL_TIMES] = times
        self._cells[layout.FULL_NS] = nanoseconds

    def note_activity(self, before: list[int]) -> list[int]:
        """Write which sessions have moved bytes since `before`, and return the next call's `before`.

        Main thread, each tick: no relay has to look at a clock for it.
        """
        cells, used = self._cells, self._used
        now = monotonic_ns()
        moved = []
        for index in range(used):
            at = HEAD_CELLS + index * SLOT_CELLS
            total = cells[at + UP] + cells[at + DOWN]
            moved.append(total)
            if index >= len(before) or before[index] != total:
                cells[at + layout.ACTIVE] = now
        return moved

    def _new(self, listener: int) -> Slot:
        with self._lock:
            index = self._used
            slot = Slot(self._memory, self._cells, layout.slot_at(index), listener)
            self._used = self._cells[layout.USED] = index + 1
        return slot
