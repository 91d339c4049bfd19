"""What the boards say, for whoever looks: numbers as they are, texts made safe, nothing believed.

A board is written while it is read, and its worker may have been taken over: a session that changes hands
meanwhile is left out, a word that does not exist becomes "?", and no index leads anywhere unchecked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from operator import add, sub
from typing import NamedTuple

from forksocks.config.model import endpoint
from forksocks.host.scoreboard import layout
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.layout import CELL, COUNTERS, SLOT_CELLS, STATE, State, slot_at
from forksocks.host.terminal import printable
from forksocks.wire.messages import COMMAND_WORDS

UNKNOWN = "?"
# By listener's name the counters of layout.COUNTERS, in their order.
Tally = dict[str, list[int]]

_WORDS = {int(state): state.word for state in State}
_WAYS = {layout.COPY: "copy", layout.SPLICE: "splice"}
_ENDS = slice(layout.ENDS, len(COUNTERS))
_STRIDE = (
    STATE, layout.NUMBER, layout.STARTED, layout.ACTIVE, layout.UP, layout.DOWN, layout.UP_BEFORE,
    layout.DOWN_BEFORE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """What a worker's main thread last wrote; times in ns of the monotonic clock."""

    heartbeat: int
    threads: int
    busy: int
    waiting: int
    draining: bool
    full_times: int
    full_ns: int


@dataclass(frozen=True, slots=True)
class Tunnel:
    """One session under way, from its accept on.

    started, active: ns of the monotonic clock, when it was accepted and when bytes last moved. asked: what
    the client asked for, `host:port`; reached: the address that it was connected to; both cut to their room.
    """

    number: int
    listener: str
    state: str
    client: str
    user: str
    command: str
    asked: str
    reached: str
    up: int
    down: int
    started: int
    active: int
    way: str


class Stride(NamedTuple):
    """How far one session has come. place: the index of its slot; the others as of Tunnel."""

    place: int
    number: int
    started: int
    active: int
    up: int
    down: int


def head(board: Board) -> Head:
    """The head of a board."""
    with memoryview(board.readable).cast("Q") as cells:
        return Head(
            heartbeat=cells[layout.HEARTBEAT], threads=cells[layout.THREADS], busy=cells[layout.BUSY],
            waiting=cells[layout.WAITING], draining=bool(cells[layout.DRAINING]),
            full_times=cells[layout.FULL_TIMES], full_ns=cells[layout.FULL_NS],
        )  # fmt: skip


def tally(board: Board) -> Tally:
    """The sums of all its slots' counters, by listener."""
    sums: Tally = {name: [0] * len(COUNTERS) for name in board.listeners}
    with memoryview(board.readable).cast("Q") as cells:
        for index in range(board.used()):
            at = slot_at(index)
            listener = cells[at + layout.LISTENER]
            if listener < len(board.listeners):
                name = board.listeners[listener]
                sums[name] = list(map(add, sums[name], cells[at : at + len(COUNTERS)]))
    return sums


def open_sessions(counters: list[int]) -> int:
    """How many sessions have begun and not ended, by their counters."""
    return max(0, counters[layout.ACCEPTED] - sum(counters[_ENDS]))


def states(board: Board) -> dict[str, int]:
    """How many sessions are in each state; those that are not "free"."""
    found: dict[str, int] = {}
    used = board.used()
    with memoryview(board.readable).cast("Q") as cells:
        for number in cells[slot_at(0) + STATE : slot_at(used) : SLOT_CELLS] if used else ():
            if number:
                word = _WORDS.get(number, UNKNOWN)
                found[word] = found.get(word, 0) + 1
    return found


def tunnels(board: Board) -> Iterator[Tunnel]:
    """The sessions under way."""
    for index in range(board.used()):
        found = tunnel(board, index)
        if found is not None:
            yield found


def strides(board: Board) -> list[Stride]:
    """How far the sessions under way have come: their numbers alone, which costs little for all of them."""
    used = board.used()
    if not used:
        return []
    with memoryview(board.readable).cast("Q") as cells:
        first, last = slot_at(0), slot_at(used)
        states, numbers, started, active, up, down, up_before, down_before = (
            cells[first + cell : last : SLOT_CELLS].tolist() for cell in _STRIDE
        )
    columns = zip(
        range(used), states, numbers, started, map(max, started, active),
        map(sub, up, up_before), map(sub, down, down_before), strict=True,
    )  # fmt: skip
    return [
        Stride(index, number, began, moved, max(0, sent), max(0, got))
        for index, state, number, began, moved, sent, got in columns
        if state
    ]


def tunnel(board: Board, index: int) -> Tunnel | None:
    """One slot's session; None for a free one and for one that changed hands while it was read."""
    if not 0 <= index < board.used():
        return None
    first, last = slot_at(index) * CELL, slot_at(index + 1) * CELL
    with memoryview(board.readable) as memory, memory[first:last] as slot, slot.cast("Q") as cells:
        if cells[STATE] == State.FREE:
            return None
        number = cells[layout.NUMBER]
        listener = cells[layout.LISTENER]
        host, port = _host(slot, cells), min(cells[layout.PORT], 0xFFFF)
        up, down, started = cells[layout.UP], cells[layout.DOWN], cells[layout.STARTED]
        found = Tunnel(
            number=number,
            listener=board.listeners[listener] if listener < len(board.listeners) else UNKNOWN,
            state=_WORDS.get(cells[STATE], UNKNOWN), client=_text(slot, layout.CLIENT, layout.CLIENT_ROOM),
            user=_text(slot, layout.USER, layout.USER_ROOM),
            command=COMMAND_WORDS.get(cells[layout.COMMAND], UNKNOWN) if cells[layout.COMMAND] else "",
            asked=endpoint(host, port) if host else "",
            reached=_address(cells, layout.REACHED_KIND, layout.REACHED),
            up=max(0, up - cells[layout.UP_BEFORE]), down=max(0, down - cells[layout.DOWN_BEFORE]),
            started=started, active=max(started, cells[layout.ACTIVE]),
            way=_WAYS.get(cells[layout.WAY], UNKNOWN),
        )  # fmt: skip
        return found if cells[layout.NUMBER] == number and cells[STATE] != State.FREE else None


def _host(slot: memoryview, cells: memoryview[int]) -> str:
    """What the client asked for, a name or an address."""
    if cells[layout.HOST_KIND] == layout.NAME:
        return _text(slot, layout.HOST, layout.HOST_ROOM)
    return _address(cells, layout.HOST_KIND, layout.HOST)


def _address(cells: memoryview[int], kind: int, first: int) -> str:
    """An address as text, "" for none."""
    if cells[kind] == layout.IPV4:
        return str(IPv4Address(cells[first] & 0xFFFF_FFFF))
    if cells[kind] == layout.IPV6:
        return str(IPv6Address(cells[first] << 64 | cells[first + 1]))
    return ""


def _text(slot: memoryview, cell: int, room: int) -> str:
    """A text up to its first NUL; what is no UTF-8 or cannot be shown is escaped."""
    first = cell * CELL
    raw = slot[first : first + room].tobytes().partition(b"\0")[0]
    return printable(raw.decode("utf-8", "backslashreplace"))
