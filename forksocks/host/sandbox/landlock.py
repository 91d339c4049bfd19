"""Landlock (landlock(7)): files, TCP ports, signals and abstract sockets, as far as this kernel knows them.

Three system calls: make a set of what is handled, which is then forbidden but for the rules in it; add rules;
restrict this thread and whatever it starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Collection, Iterable, Sequence

from forksocks.host import linux

# One number on all architectures but Alpha.
SYS_CREATE_RULESET, SYS_ADD_RULE, SYS_RESTRICT_SELF = 444, 445, 446
CREATE_RULESET_VERSION = 1
RULE_PATH_BENEATH, RULE_NET_PORT = 1, 2

# <linux/landlock.h>: all rights over files by the first version that knows them.
FILES = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
READ_FILE, READ_DIRECTORY = 1 << 2, 1 << 3
BIND_TCP, CONNECT_TCP = 1, 2  # version 4
ABSTRACT_SOCKETS, SIGNALS = 1, 2  # version 6
PORTS_SINCE, SCOPES_SINCE = 4, 6

ANY_FREE_PORT = 0  # the rule for bind(2) to port 0
NEWEST = max(*FILES, PORTS_SINCE, SCOPES_SINCE)


def version() -> int:
    """The version of the kernel's Landlock (its ABI). Raises OSError without one."""
    if not linux.IS_LINUX:
        raise OSError("this system has none")
    return linux.syscall(
        SYS_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(CREATE_RULESET_VERSION)
    )


def handled(abi: int, dials_are_few: bool) -> bytes:
    """struct landlock_ruleset_attr, as long as that version knows it: everything it can forbid."""
    files = sum(rights for since, rights in FILES.items() if since <= abi)
    ports = BIND_TCP | (CONNECT_TCP if dials_are_few else 0)
    words = [files]
    if abi >= PORTS_SINCE:
        words.append(ports)
    if abi >= SCOPES_SINCE:
        words.append(ABSTRACT_SOCKETS | SIGNALS)
    return struct.pack(f"={len(words)}Q", *words)


def restrict(
    readable: Sequence[str],
    dials: Sequence[int] | None,
    listens: Collection[int] = (),
    newest: int = NEWEST,
) -> str:
    """Restrict the calling thread for good; returns the version used and what it lacks. Raises OSError.

    readable: directories whose files may be read, those that are not there left out. dials: TCP ports that
    may be connected to, None for any. listens: TCP ports that may be bound beside a free one. newest: the
    newest version to make use of. Needs no_new_privs.
    """
    found = version()
    abi = min(found, newest)
    attributes = handled(abi, dials is not None)
    rules = linux.syscall(
        SYS_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    try:
        _allow_reading(rules, readable)
        if abi >= PORTS_SINCE:
            for port in (ANY_FREE_PORT, *listens):
                _allow_port(rules, BIND_TCP, port)
            for port in dials or ():
                _allow_port(rules, CONNECT_TCP, port)
        linux.syscall(SYS_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0))
    finally:
        os.close(rules)
    return ", ".join([f"ABI {found}", *_lacks(abi)])


def _lacks(abi: int) -> Iterable[str]:
    if abi < PORTS_SINCE:
        yield "without ports"
    if abi < SCOPES_SINCE:
        yield "without signals"


def _allow_reading(rules: int, directories: Iterable[str]) -> None:
    for path in directories:
        with contextlib.suppress(FileNotFoundError):
            below = os.open(path, linux.O_PATH | os.O_CLOEXEC)
            try:
                # struct landlock_path_beneath_attr is packed: rights, descriptor.
                _add(rules, RULE_PATH_BENEATH, struct.pack("=Qi", READ_FILE | READ_DIRECTORY, below))
            finally:
                os.close(below)


def _allow_port(rules: int, what: int, port: int) -> None:
    """struct landlock_net_port_attr."""
    _add(rules, RULE_NET_PORT, struct.pack("=QQ", what, port))


def _add(rules: int, kind: int, attributes: bytes) -> None:
    linux.syscall(SYS_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(kind), attributes, ctypes.c_uint32(0))
