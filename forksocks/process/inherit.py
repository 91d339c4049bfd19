"""Listening sockets that were open when we started: systemd's, or those of the program that we follow.

Both come by one protocol (sd_listen_fds(3)): descriptors from 3 on, LISTEN_FDS says how many, LISTEN_PID for
whom, LISTEN_FDNAMES what each is called. The program before us adds one more descriptor, the line on which we
tell it how we fare (process/upgrade.py).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from forksocks.config.model import Bind
from forksocks.process.listeners import Endpoint, file_at

FIRST = 3  # SD_LISTEN_FDS_START
FDS, PID, NAMES = "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"
# What the program before us calls a socket that it made itself, and the line to it.
OWN = "forksocks"
LINE = "forksocks-line"
UNNAMED = "unknown"  # what sd_listen_fds(3) calls it


class InheritError(Exception):
    """What was handed to us is no listening socket; the text says which."""


@dataclass(frozen=True, slots=True)
class Inheritance:
    """endpoints: the sockets. line: leads to the program before us, None if nobody hands over to us."""

    endpoints: Sequence[Endpoint] = ()
    line: socket.socket | None = None


def take(environ: MutableMapping[str, str], pid: int) -> Inheritance:
    """Take what was left for process `pid`, and the words about it out of the environment.

    Raises InheritError.
    """
    count, whose, names = (environ.pop(name, "") for name in (FDS, PID, NAMES))
    if whose != str(pid) or not (count.isascii() and count.isdecimal()):
        return Inheritance()  # nothing, or left for a process above us
    most = os.sysconf("SC_OPEN_MAX")
    if len(count) > len(str(most)) or int(count) > most:
        raise InheritError(f"LISTEN_FDS={count[:20]}: a process has {most} descriptors at most")
    called = names.split(":") if names else []
    called += [UNNAMED] * (int(count) - len(called))
    endpoints = []
    line = None
    for descriptor, name in enumerate(called[: int(count)], FIRST):
        sock = _socket(descriptor, name)
        if name == LINE:
            sock.setblocking(False)
            line = sock
        else:
            endpoints.append(_endpoint(sock, descriptor, name))
    return Inheritance(endpoints, line)


def _socket(descriptor: int, name: str) -> socket.socket:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise InheritError(f"descriptor {descriptor} ({name!a}) is no socket")
        os.set_inheritable(descriptor, False)
        return socket.socket(fileno=descriptor)
    except OSError as error:
        raise InheritError(f"descriptor {descriptor} ({name!a}): {error.strerror}") from None


def _endpoint(sock: socket.socket, descriptor: int, name: str) -> Endpoint:
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family not in families or not listens:
        sock.close()
        raise InheritError(f"descriptor {descriptor} ({name!a}) is no listening stream socket")
    at = _where(sock.getsockname())
    file = file_at(at.path) if at.path is not None and name == OWN else None
    return Endpoint(sock, at, at, file, name)


def _where(name: str | bytes | tuple[Any, ...]) -> Bind:
    """What a socket is bound to; an abstract unix name (unix(7)) is shown as a path that begins with "@"."""
    if isinstance(name, bytes):
        return Bind(path=Path("@" + os.fsdecode(name[1:])))
    if isinstance(name, str):
        return Bind(path=Path(name))
    host, scope = name[0].partition("%")[0], name[3] if len(name) == 4 else 0
    return Bind(host=ip_address(f"{host}%{_interface(scope)}" if scope else host), port=name[1])


def _interface(number: int) -> str:
    with contextlib.suppress(OSError):  # it has gone
        return socket.if_indextoname(number)
    return str(number)
