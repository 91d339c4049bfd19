"""Why a session ended: the one table of causes.

The word is the same in the log, in a metric's label, on the page and in forksocksctl, and comes from nowhere
else. A word, once released, keeps its meaning: people build alerts and filters on it.
"""

from __future__ import annotations

import enum

from forksocks.config.model import Level


class Cause(enum.Enum):
    """One ending of a session. The value is the word that is logged.

    `level` is the level of the session's end line: NOTICE where an operator should look without having asked,
    ERROR for a fault of ours, INFO for the ordinary, DEBUG for noise.
    """

    _value_: str
    level: Level
    meaning: str
    number: int  # its place in the table

    def __new__(cls, word: str, level: Level = Level.INFO, meaning: str = "") -> Cause:
        """Make a member whose value is the word alone, so that `Cause("idle")` finds it."""
        member = object.__new__(cls)
        member._value_ = word
        member.level = level
        member.meaning = meaning
        member.number = len(cls.__members__)
        return member

    # Tunnels that were open.
    CLIENT_CLOSED = "client-closed", Level.INFO, "Both directions ended, the client's first."
    TARGET_CLOSED = "target-closed", Level.INFO, "Both directions ended, the target's first."
    CLIENT_RESET = "client-reset", Level.INFO, "The client reset its connection or vanished from the network."
    TARGET_RESET = "target-reset", Level.INFO, "The target reset its connection or vanished from the network."
    IDLE = "idle", Level.INFO, "No byte moved in either direction for the idle limit."
    HALF_CLOSED = (
        "half-closed",
        Level.INFO,
        "One direction had ended and the other fell silent for its limit.",
    )
    ANSWERED = "answered", Level.INFO, "The server's own answer was all that was asked for."
    DRAINED = "drained", Level.INFO, "The server is stopping and the tunnel outlasted the time to drain."
    ENDED_BY_ADMIN = "ended-by-admin", Level.NOTICE, "An administrator ended it: `forksocksctl end`."

    # Requests that were refused.
    DENIED = "denied", Level.NOTICE, "The client may not come in, or may not reach that destination."
    LIMITED = "limited", Level.NOTICE, "A limit is reached; which one is in the line's hint."
    AUTH_FAILED = "auth-failed", Level.INFO, "The name is unknown or the password is wrong."
    BANNED = "banned", Level.INFO, "Too many wrong passwords from there, or for that name, not long ago."
    AUTH_UNAVAILABLE = (
        "auth-unavailable",
        Level.NOTICE,
        "What checks passwords is out of order; nothing is known about this one.",
    )
    NO_METHOD = "no-method", Level.NOTICE, "The client offers no way to log in that its listener accepts."
    PROTOCOL_ERROR = "protocol-error", Level.INFO, "What the client sent is not SOCKS."
    UNSUPPORTED = "unsupported", Level.INFO, "That command or type of address is not served."
    HANDSHAKE_TIMEOUT = "handshake-timeout", Level.INFO, "The client did not finish its request in time."
    CROWDED = "crowded", Level.NOTICE, "Too many handshakes were under way; this one made room."
    ABANDONED = "abandoned", Level.DEBUG, "The client went away before its request was complete."

    # Targets that could not be reached.
    BAD_NAME = "bad-name", Level.INFO, "The name asked for is not one that may be looked up."
    DNS_FAILED = "dns-failed", Level.INFO, "The name has no address, or no server said so in time."
    REFUSED = "refused", Level.INFO, "The target refused the connection."
    UNREACHABLE = "unreachable", Level.INFO, "There is no route to the target."
    CONNECT_TIMEOUT = "connect-timeout", Level.INFO, "The target did not answer in time."
    CONNECT_FAILED = "connect-failed", Level.INFO, "Connecting failed with an error that has no word here."
    SELF_CONNECT = "self-connect", Level.NOTICE, "The destination is this server itself."

    # Ourselves.
    NO_RESOURCES = "no-resources", Level.NOTICE, "Descriptors, ports, memory or threads ran out."
    WORKER_CRASH = "worker-crash", Level.INFO, "The worker that carried it died; who and how is in the log."
    CRASHED = "crashed", Level.ERROR, "A bug in forksocks; its traceback is in the log."
