"""`python -m tests.system.elsewhere FLAGS`: forksocks as on a system without anything that only Linux has.

Before forksocks is imported, every name goes that FreeBSD's Python 3.11 would not have, `sys.platform` says
`freebsd14`, libc has none of Linux's calls, and there is no /proc. What stays Linux's all the same is what
the kernel does behind the names that both have: SO_REUSEPORT hands out connections, accepted sockets inherit
options, a title replaces the arguments.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import fcntl
import inspect
import io
import os
import re
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "tests.system.elsewhere"
TESTS = f"{Path(__file__).parents[1]}/"
LIBRARY = f"{Path(os.__file__).parent}/"
PLATFORM = "freebsd14"
# By module, whole names.
MISSING: dict[ModuleType, str] = {
    os: "SPLICE_.*|splice|copy_file_range|memfd_create|MFD_.*|eventfd.*|EFD_.*|pidfd_.*|P_PIDFD|unshare|"
    "setns|CLONE_.*|getxattr|setxattr|listxattr|removexattr|XATTR_.*|O_TMPFILE|O_PATH|O_NOATIME|getrandom|GRND_.*",
    socket: "AF_(NETLINK|PACKET|VSOCK|CAN|ALG|TIPC|RDS|QIPCRTR)|NETLINK_.*|PACKET_.*|VMADDR_.*|VM_.*|CAN_.*|"
    "ALG_.*|TIPC_.*|SOL_(ALG|CAN.*|TIPC|RDS)|MSG_(ERRQUEUE|MORE|CONFIRM|FASTOPEN)|"
    "TCP_(DEFER_ACCEPT|NOTSENT_LOWAT|USER_TIMEOUT|QUICKACK|CORK|LINGER2|SYNCNT|WINDOW_CLAMP|INFO)|"
    "IP_(BIND_ADDRESS_NO_PORT|TRANSPARENT|FREEBIND|RECVERR|MTU_DISCOVER|PMTUDISC_.*)|"
    "SO_(MARK|PEERCRED|PEERSEC|PASSCRED|PASSSEC|BINDTODEVICE|DOMAIN|PRIORITY|INCOMING_CPU)|if_nameindex",
    select: "epoll|EPOLL.*|POLLRDHUP|POLLMSG",
    signal: "pidfd_send_signal|SIGPWR|SIGPOLL|SIGSTKFLT|SIGCLD",
    fcntl: "F_((SET|GET)PIPE_SZ|(ADD|GET)_SEALS|SEAL_.*|OFD_.*|NOTIFY|(SET|GET)(LEASE|SIG))",
    resource: "prlimit|RLIMIT_(MSGQUEUE|NICE|RTPRIO|RTTIME|SIGPENDING|OFILE)",
}
NO_CALLS = frozenset({"prctl", "syscall", "capget", "capset", "unshare", "setns", "gettid", "adjtimex"})
PROC = ("/proc", "/sys")


class Libc(ctypes.CDLL):
    """The C library without the calls that are Linux's alone."""

    def __getattr__(self, name: str) -> Any:
        if name in NO_CALLS:
            raise AttributeError(f"{name}: symbol not found")
        return super().__getattr__(name)


def without_proc(call: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a path that finds nothing in /proc, where tests themselves may look."""

    def called(path: Any, *arguments: Any, **more: Any) -> Any:
        if isinstance(path, (str, os.PathLike)) and is_hidden(os.fspath(path)) and not a_test_asks():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        return call(path, *arguments, **more)

    return called


def a_test_asks() -> bool:
    """Whether a test has called, itself or through pathlib and the like."""
    frame = inspect.currentframe()
    while frame and frame.f_code.co_filename.startswith((__file__, LIBRARY)):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(TESTS)


def is_hidden(path: str) -> bool:
    """Whether a path leads into what FreeBSD does not have."""
    return any(path == root or path.startswith(root + "/") for root in PROC)


def go() -> None:
    """Make this process believe that it runs elsewhere than on Linux."""
    for module, names in MISSING.items():
        pattern = re.compile(names)
        for name in [name for name in vars(module) if pattern.fullmatch(name)]:
            delattr(module, name)
    for name in ("open", "stat", "lstat", "listdir", "scandir", "readlink", "access"):
        setattr(os, name, without_proc(getattr(os, name)))
    builtins.open = io.open = without_proc(io.open)
    setattr(ctypes, "CDLL", Libc)  # noqa: B010 (mypy knows better than to assign a type)
    sys.platform = PLATFORM


def main() -> int:
    """Run the server."""
    go()
    from forksocks.__main__ import server

    return server()


if __name__ == "__main__":
    sys.exit(main())
