"""Which cell means what. A cell is 8 bytes, and a store into one is a single machine word: old or new.

struct's pack_into first clears all that it will write, so it may never touch a cell that counts.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence

from forksocks.host.causes import Cause
from forksocks.wire.messages import COMMAND_WORDS

CELL = 8

# The head. HEARTBEAT: the main thread's clock (monotonic, ns), each tick. USED: slots that have ever been
# used.
HEARTBEAT, USED, THREADS, BUSY, WAITING, DRAINING, PIPES, FULL_TIMES, FULL_NS = range(9)
HEAD_CELLS = 16
# Those of the head that count, as the books know them: how often, and for how long, all threads were busy.
HEAD_COUNTERS: Sequence[str] = ("full", "full_ns")

# A slot begins with what counts: sessions accepted, bytes that arrived each way, then what came of logins,
# the commands asked for, how long steps took, and a counter for every cause that a session can end with.
ACCEPTED, UP, DOWN, LOGINS_NONE, LOGINS_PASSWORD, LOGINS_GSSAPI = range(6)
LOGIN_NAMES = ("none", "password", "gssapi")
COMMANDS = 6
COMMAND_NAMES = (*COMMAND_WORDS.values(), "other")
# Of each of these the time in all (ns), and how many took at most so long and longer than the bound before;
# the last bucket has no bound.
BOUNDS: Sequence[float] = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)  # seconds
TIME_CELLS = 1 + len(BOUNDS) + 1
HANDSHAKE_TIME = COMMANDS + len(COMMAND_NAMES)
RESOLVE_TIME = HANDSHAKE_TIME + TIME_CELLS
CONNECT_TIME = RESOLVE_TIME + TIME_CELLS
TIMES = {"handshake": HANDSHAKE_TIME, "resolve": RESOLVE_TIME, "connect": CONNECT_TIME}
ENDS = CONNECT_TIME + TIME_CELLS
CAUSES = tuple(cause.value for cause in Cause)
COUNTERS: Sequence[str] = (
    "accepted", "up", "down", *(f"login_{name}" for name in LOGIN_NAMES), *COMMAND_NAMES,
    *(f"{name}_{what}" for name in TIMES for what in ("ns", *BOUNDS, "more")), *CAUSES,
)  # fmt: skip

# Then what only the present session means. LISTENER: index of the listener, and never changed in a slot's
# life. ACTIVE: when bytes last moved (ns), written by the main thread at its ticks.
LISTENER = len(COUNTERS)
ACTIVE = LISTENER + 1
STATE = LISTENER + 2
NUMBER, STARTED, UP_BEFORE, DOWN_BEFORE, WAY, COMMAND, PORT, HOST_KIND, REACHED_KIND, CLIENT = range(
    STATE + 1, STATE + 11
)

# A text ends with a NUL or with its room. An address, by its kind, is the one or two cells of its number:
# making a text of it costs more than all the rest.
NAME, IPV4, IPV6 = range(1, 4)  # and 0 for none
CLIENT_ROOM, USER_ROOM, HOST_ROOM, REACHED_ROOM = 56, 64, 128, 16
USER = CLIENT + CLIENT_ROOM // CELL
HOST = USER + USER_ROOM // CELL
REACHED = HOST + HOST_ROOM // CELL
SLOT_CELLS = REACHED + REACHED_ROOM // CELL

# From STATE on, a session's beginning: it clears what the one before it has left in the slot.
BEGIN = struct.Struct(f"=10Q{CLIENT_ROOM}s{CELL}x")

# Of each rule (host/scoreboard/hits.py).
HIT_CELLS = 2

# WAY: how bulk is moved.
COPY, SPLICE = range(2)


class State(enum.IntEnum):
    """What a session is doing."""

    FREE = 0
    HANDSHAKE = 1
    AUTH = 2
    RESOLVE = 3
    CONNECT = 4
    TUNNEL = 5
    CLOSING = 6

    @property
    def word(self) -> str:
        """As it is shown."""
        return self.name.lower()


def size(slots: int) -> int:
    """Bytes of a board with so many slots."""
    return (HEAD_CELLS + slots * SLOT_CELLS) * CELL


def slot_at(index: int) -> int:
    """The first cell of a slot."""
    return HEAD_CELLS + index * SLOT_CELLS
