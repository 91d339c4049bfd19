"""What we ask of a kernel, with an answer for those that lack it (what only Linux has: `linux`).

Everything is looked up once, at import. A tuning that a kernel does not know is left out silently: it makes
a server faster or thriftier, never right.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import struct
import sys

from forksocks.host import linux

# accept(2) on a listener with SO_RCVTIMEO returns when that has passed (socket(7)). FreeBSD's does not.
ACCEPT_TIMES_OUT = linux.IS_LINUX
HAS_SPLICE = linux.HAS_SPLICE
# A socket that is non-blocking from its birth saves a call; 0 where socket(2) knows no such flag.
SOCK_NONBLOCK: int = getattr(socket, "SOCK_NONBLOCK", 0)
# Urgent bytes (RFC 793) stay in line with the rest; without this they would be lost to a relay.
INLINE_URGENT = (socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
# A connection on which nobody answers ends after 60 + 6 x 10 seconds (tcp(7)).
KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 60, 10, 6
VANISHED = KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_COUNT
# What the kernel keeps of data that a peer does not read: 1/6 of the memory at no cost in speed (tcp(7),
# TCP_NOTSENT_LOWAT); less costs CPU.
MOST_UNSENT = 512 * 1024

_EXTENDED_ERROR = struct.Struct("=IBB")  # struct sock_extended_err of ip(7): ee_errno, ee_origin, ee_type
_TIME_EXCEEDED = 2, 11  # ee_origin SO_EE_ORIGIN_ICMP, and ee_type of RFC 792

# struct tcp_info of <linux/tcp.h>, as far as tcpi_last_ack_recv (ms); of it tcpi_probes and tcpi_unacked too.
_INFO_HEAD = struct.Struct("=3xB20xI28xI")
# The same as far as tcpi_delivery_rate, whose names are told apart by `connection`.
_INFO_WHOLE = struct.Struct("=2B6x24I4Q6IQ")
_STATES = (
    "", "established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait", "closed",
    "close-wait", "last-ack", "listen", "closing",
)  # fmt: skip

_MOST_GROUPS = 65536  # getgroups(2), NGROUPS_MAX

SOCKETS_A_SESSION = 2

_NOWHERE = 2**31 - 1  # the index of no interface

# close(2) sends a reset, and discards what the peer did not read (struct linger of socket(7)).
RESET = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

SHORT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EFBIG})
# Thousandths of the memory that there is, the machine's or a control group's, that a child counts as more
# than it is when the kernel chooses whom to kill for want of it (oom_score_adj of proc(5)). The supervisor
# has some 10 MB of the interpreter's pages that no child has touched, and a group may have 40 MB.
CHILDREN_FIRST = 300

Option = tuple[int, int, int]


def _options(*wanted: tuple[int, int | None, int]) -> tuple[Option, ...]:
    return tuple((level, name, value) for level, name, value in wanted if name is not None)


_FRUGAL = _options((socket.IPPROTO_TCP, linux.TCP_NOTSENT_LOWAT, MOST_UNSENT))
_UNANSWERED = _options((socket.IPPROTO_TCP, linux.TCP_USER_TIMEOUT, VANISHED * 1000))
_KEEPALIVE: tuple[Option, ...] = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *_options(
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", None), KEEPALIVE_IDLE),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPINTVL", None), KEEPALIVE_INTERVAL),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPCNT", None), KEEPALIVE_COUNT),
    ),
)
_PROMPT: tuple[Option, ...] = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), INLINE_URGENT)
_DEFERRED = _options((socket.IPPROTO_TCP, linux.TCP_DEFER_ACCEPT, 1))
_LATE_PORT = _options((socket.IPPROTO_IP, linux.IP_BIND_ADDRESS_NO_PORT, 1))


def _apply(sock: socket.socket, options: tuple[Option, ...]) -> None:
    for option in options:
        with contextlib.suppress(OSError):
            sock.setsockopt(*option)


def tune_listener(listener: socket.socket) -> None:
    """Set on a TCP listener what every connection accepted from it inherits, and let silent clients wait.

    SOCKS clients speak first, so one that has said nothing needs no thread yet (TCP_DEFER_ACCEPT): the kernel
    hands it over with its first bytes, or after a second.
    """
    _apply(listener, (*_PROMPT, *_KEEPALIVE, *_FRUGAL, *_DEFERRED))


def tune_prompt(sock: socket.socket) -> None:
    """Send small writes at once and keep urgent data in line; needed from the first byte on."""
    for option in _PROMPT:
        sock.setsockopt(*option)


def tune_lasting(sock: socket.socket) -> None:
    """Notice a peer that vanished; worth its system calls only on a connection that lasts."""
    _apply(sock, _KEEPALIVE)


def tune_bulk(sock: socket.socket) -> None:
    """Bound what the kernel keeps for a peer that does not read."""
    _apply(sock, _FRUGAL)


def tune_parting(sock: socket.socket) -> None:
    """Let what nobody reads live no longer than VANISHED in the kernel once the socket is closed.

    Not while it is open: a peer without room for VANISHED may only be pausing (tcp(7), TCP_USER_TIMEOUT).
    """
    _apply(sock, _UNANSWERED)


def has_vanished(sock: socket.socket) -> bool:
    """Whether something was sent to the peer of a TCP connection and VANISHED seconds have brought no answer.

    Keepalive does not ask while something is under way, and the kernel alone would go on for fifteen minutes.
    A peer that says that it has no room is there (TCP_INFO, tcp(7)).
    """
    if linux.TCP_INFO is None:
        return False
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, linux.TCP_INFO, _INFO_HEAD.size)
        probes, unacknowledged, silence = _INFO_HEAD.unpack(info)
    except (OSError, struct.error):  # closed meanwhile, or a unix socket
        return False
    return bool(probes or unacknowledged) and silence >= VANISHED * 1000


def connection(sock: socket.socket) -> dict[str, float | str]:
    """How one TCP connection is doing, as `ss -ti` shows it; {} where the kernel does not say (tcp(7)).

    Times are seconds, rates bytes a second, `congestion_window` segments. `unacknowledged` are segments under
    way, `retransmitted` all that were ever sent again, `unsent` bytes that wait for the peer or the network.
    """
    if linux.TCP_INFO is None:
        return {}
    try:
        found = _INFO_WHOLE.unpack(sock.getsockopt(socket.IPPROTO_TCP, linux.TCP_INFO, _INFO_WHOLE.size))
    except (OSError, struct.error):  # closed meanwhile, a unix socket, or a kernel before 4.9
        return {}
    state, _, *words = found
    return {
        "state": _STATES[state] if state < len(_STATES) else str(state),
        "rtt": words[15] / 1e6, "rtt_variance": words[16] / 1e6, "rtt_least": words[31] / 1e6,
        "retransmit_timeout": words[0] / 1e6, "segment": words[2], "congestion_window": words[18],
        "unacknowledged": words[4], "retransmitted": words[23], "unsent": words[30],
        "pacing_rate": words[24], "delivery_rate": words[34],
        "since_sent": words[9] / 1e3, "since_received": words[11] / 1e3,
    }  # fmt: skip


def tune_late_port(sock: socket.socket) -> None:
    """Let bind(2) to an address leave the port to connect(2), which may share ports between destinations.

    Without this every outgoing connection takes a port of its own and some 28,000 exhaust them (ip(7)).
    """
    _apply(sock, _LATE_PORT)


def leave_by(sock: socket.socket, interface: str) -> None:
    """Have all that a socket sends leave by one interface, and let nothing in by another (SO_BINDTODEVICE).

    Without a privilege it takes Linux 5.7, and can be done once. Raises OSError; ENODEV: it is not there.
    """
    if linux.SO_BINDTODEVICE is None:
        raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
    sock.setsockopt(socket.SOL_SOCKET, linux.SO_BINDTODEVICE, interface.encode() + b"\0")


def receive_timeout(sock: socket.socket, seconds: float) -> None:
    """Let a blocked recv(2) or accept(2) return after `seconds` (SO_RCVTIMEO, socket(7))."""
    timeval = struct.pack("ll", int(seconds), int(seconds % 1 * 1_000_000))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)


def die_before_the_parent() -> None:
    """Let the kernel that has to kill somebody for his memory take this child: it is replaced.

    More of oneself may be offered by everybody. Nothing to do where there is no such choice.
    """
    with contextlib.suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+") as file:
        offered = min(1000, int(file.read()) + CHILDREN_FIRST)
        file.seek(0)
        file.write(str(offered))


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open descriptors to the hard one and return it (getrlimit(2))."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def reserved_descriptors(limit: int) -> int:
    """How many of so many descriptors a worker keeps free of its sessions' usual sockets.

    It holds some 30 itself. Where there are more, an eighth of them is for dials that race, for UDP and BIND,
    which need more than two, up to 256.
    """
    return min(256, 48 + limit // 8)


def pipes_to_spare(sessions: int) -> int:
    """How many pipes a process may open so that descriptors are left for so many sessions' sockets.

    Two for each session are all that it can use.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 2 * sessions
    left = soft - reserved_descriptors(soft) - SOCKETS_A_SESSION * sessions
    return max(0, min(2 * sessions, left // 2))


def refuse_core_dumps() -> None:
    """Leave no core file: it would hold passwords (getrlimit(2), RLIMIT_CORE)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def lower_priority_of_this_thread(nice: int) -> None:
    """Let the threads that carry traffic go first; the threads that this one starts inherit it (sched(7)).

    Where threads share one nice value (it is POSIX's rule, and Linux's exception) nothing is changed.
    """
    if linux.IS_LINUX:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, nice)


def process_state(pid: int) -> str | None:
    """What a process is doing (proc(5), "state"); None where the kernel does not say, or for a rarer one.

    One of `running`, `sleeping`, `in the kernel`, `stopped` and `traced`.
    """
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            letter = file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None
    return {"R": "running", "S": "sleeping", "D": "in the kernel", "T": "stopped", "t": "traced"}.get(letter)


def resident_memory(pid: int) -> int:
    """How many bytes of memory a process has, those that it shares too (proc(5), "statm"); 0 for unknown."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii", errors="replace") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return 0


def time_exceeded(sock: socket.socket) -> bool:
    """Whether a connect(2) that failed with EHOSTUNREACH did so because its packets ran out of hops.

    The errno is the same; Linux keeps the ICMP message itself for whoever asks, without IP_RECVERR (ip(7)).
    IPv6 keeps none, unless it may also end established connections.
    """
    if not linux.MSG_ERRQUEUE:
        return False
    try:
        _, ancillary, _, _ = sock.recvmsg(0, 256, linux.MSG_ERRQUEUE | socket.MSG_DONTWAIT)
    except OSError:  # the error came from this machine: no message, no queue
        return False
    return any(
        len(data) >= _EXTENDED_ERROR.size and _EXTENDED_ERROR.unpack_from(data)[1:] == _TIME_EXCEEDED
        for _, _, data in ancillary
    )


def pass_over(listener: socket.socket) -> bool:
    """Let a listening socket get no new client, as if bound to an interface that does not exist.

    Linux looks for another socket then (compute_score() of net/ipv4/inet_hashtables.c); handshakes that have
    begun still end in this one's queue. False where that cannot be had, or an interface is bound already.
    """
    if linux.IS_LINUX:
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, linux.SO_BINDTOIFINDEX, _NOWHERE)
            return True
    return False


def pending_error(sock: socket.socket) -> OSError:
    """Return what went wrong with a connection that poll(2) calls broken (SO_ERROR, socket(7))."""
    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNRESET
    return OSError(code, os.strerror(code))


def peer_process(sock: socket.socket) -> int:
    """Return who called connect(2) or listen(2) at the other end of a unix socket; 0 for unknown."""
    found = _peer(sock)
    return 0 if found is None else found[0]


def peer_credentials(sock: socket.socket) -> tuple[int, frozenset[int]] | None:
    """Return the uid and all gids of whoever connected to a unix socket; None where it cannot be asked."""
    found = _peer(sock)
    if found is None:
        return None
    _pid, uid, gid = found
    groups = b""
    with contextlib.suppress(OSError):
        groups = sock.getsockopt(socket.SOL_SOCKET, linux.SO_PEERGROUPS, _MOST_GROUPS)
    return uid, frozenset((gid, *struct.unpack(f"{len(groups) // 4}I", groups)))


def _peer(sock: socket.socket) -> tuple[int, int, int] | None:
    """Its pid, uid and gid (unix(7), SO_PEERCRED)."""
    if linux.SO_PEERCRED is None:
        return None
    found = sock.getsockopt(socket.SOL_SOCKET, linux.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", found)
    return pid, uid, gid
