"""The one module that names what only Linux has: calls, flags, options.

Each name has an answer where there is none: a constant is None, or 0 among flags, and a call fails with
OSError or AttributeError; whoever calls has another way. Other modules say `linux.NAME`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import socket
import sys

IS_LINUX = sys.platform == "linux"
HAS_SPLICE = hasattr(os, "splice")

# Options of tcp(7), ip(7), and socket(7).
TCP_DEFER_ACCEPT: int | None = getattr(socket, "TCP_DEFER_ACCEPT", None)
TCP_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
TCP_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
IP_BIND_ADDRESS_NO_PORT: int | None = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", None)
# By which a server is faster, not otherwise.
FAST = {
    "TCP_DEFER_ACCEPT": TCP_DEFER_ACCEPT,
    "TCP_NOTSENT_LOWAT": TCP_NOTSENT_LOWAT,
    "IP_BIND_ADDRESS_NO_PORT": IP_BIND_ADDRESS_NO_PORT,
}
# Elsewhere an option of this name answers with another structure.
TCP_INFO: int | None = getattr(socket, "TCP_INFO", None) if IS_LINUX else None
SO_PEERCRED: int | None = getattr(socket, "SO_PEERCRED", None)
SO_PEERGROUPS = 59  # <asm-generic/socket.h>, Linux 4.13; Python has no name for it
# To an interface alone; by whoever has not done so before, since Linux 5.7 (socket(7)).
SO_BINDTODEVICE: int | None = getattr(socket, "SO_BINDTODEVICE", None) if IS_LINUX else None
# The same, since Linux 5.0; by number, for it takes an interface that does not exist.
SO_BINDTOIFINDEX = 62
MSG_ERRQUEUE: int = getattr(socket, "MSG_ERRQUEUE", 0)  # recvmsg(2)
AF_NETLINK: int = getattr(socket, "AF_NETLINK", 16)  # <bits/socket.h>; of which the sandbox speaks, too
O_PATH: int = getattr(os, "O_PATH", 0)  # open(2)
O_TMPFILE: int = getattr(os, "O_TMPFILE", 0)
RLIMIT_MSGQUEUE: int | None = getattr(resource, "RLIMIT_MSGQUEUE", None)  # getrlimit(2)
# fcntl(2)
F_SETPIPE_SZ: int | None = getattr(fcntl, "F_SETPIPE_SZ", None)
F_GETPIPE_SZ: int | None = getattr(fcntl, "F_GETPIPE_SZ", None)
# <linux/fcntl.h>, Linux 5.1: what is mapped writable stays so, nothing new becomes writable. Python's name is
# of 3.13.
F_SEAL_FUTURE_WRITE = 0x10

# <linux/prctl.h>
PR_SET_DUMPABLE = 4
PR_GET_SECCOMP = 21
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1

_CAPABILITY_VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3, <linux/capability.h>
_SPLICE_FLAGS: int = getattr(os, "SPLICE_F_MOVE", 0) | getattr(os, "SPLICE_F_NONBLOCK", 0)

_libc = ctypes.CDLL(None, use_errno=True)


def splice(source: int, sink: int, most: int) -> int:
    """Move at most so many bytes from or to a pipe inside the kernel, at once (splice(2)). Raises OSError."""
    return os.splice(source, sink, most, flags=_SPLICE_FLAGS)


def enlarge(pipe: int, wanted: int) -> int:
    """Give a pipe room for `wanted` bytes if the user may have that; return what it has then (pipe(7))."""
    try:
        return fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, wanted)
    except OSError:  # the user's pages are used up: the pipe stays as it came
        return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


def memory_file(name: str) -> int:
    """Return a descriptor of memory without a file, which can be sealed (memfd_create(2)).

    OSError or AttributeError where there is none.
    """
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def seal(memory: int) -> None:
    """Let nobody else write to a memory file, or change its size, from now on (fcntl(2)). Raises OSError."""
    seals = F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, seals)


def route_socket() -> socket.socket:
    """Return a socket that answers from the routing tables (rtnetlink(7)). Raises OSError."""
    if not hasattr(socket, "AF_NETLINK"):
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)


def adjtimex(asked: ctypes.Structure) -> int:
    """adjtimex(2) with a struct timex; the state of the clock. Raises OSError."""
    return _checked(_libc.adjtimex(ctypes.byref(asked)))


def _checked(answer: int) -> int:
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer


def prctl(option: int, argument: int, *more: int) -> int:
    """prctl(2); arguments that are left out are 0. Raises OSError."""
    words = [ctypes.c_ulong(word) for word in (argument, *more, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(ctypes.c_int(option), *words))


def syscall(number: int, *arguments: object) -> int:
    """syscall(2) with ctypes values. Raises OSError."""
    _libc.syscall.restype = ctypes.c_long
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments))


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """struct __user_cap_data_struct: 32 capabilities of each set."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def permitted_capabilities() -> int:
    """The calling thread's permitted capabilities, a bit for each (capget(2)). Raises OSError."""
    sets = (_Sets * 2)()
    _checked(_libc.capget(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), sets))
    return int(sets[0].permitted) | int(sets[1].permitted) << 32


def keep_capabilities(kept: int) -> None:
    """Give up every capability but those of `kept` that are there. Raises OSError.

    What is kept goes on to programs that this one becomes if it would have before: what is ambient is always
    inheritable, and ceases to be either here if it is not kept (capabilities(7)).
    """
    sets = (_Sets * 2)()
    header = _Header(_CAPABILITY_VERSION_3, 0)
    _checked(_libc.capget(ctypes.byref(header), sets))
    before = bytes(sets)
    for half, bits in zip(sets, (kept & 0xFFFF_FFFF, kept >> 32), strict=True):
        half.permitted &= bits
        half.effective = half.permitted
        half.inheritable &= bits
    if bytes(sets) != before:  # a service manager's filter may forbid the call to who has nothing to give up
        _checked(_libc.capset(ctypes.byref(header), sets))
