"""Listening sockets: bound by the supervisor, waited on by every worker.

One socket an address, shared: clients wait in one queue for whichever worker is free. SO_REUSEPORT lets a
second supervisor bind beside the first one, so that nobody is refused while one takes over from the other;
SO_REUSEADDR lets it bind while old connections linger. IPv6 sockets take IPv6 alone, so that a listener on
every address is two sockets and no client's IPv4 address comes in disguise.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from forksocks.config.model import Bind, ListenConfig
from forksocks.host import kernel

UNIX_MODE = 0o666  # of a unix socket: its folder decides who reaches it
EVERY_IPV4, EVERY_IPV6 = IPv4Address(0), IPv6Address(0)
_REASONS = {
    errno.EADDRINUSE: "the address is in use by another process",
    errno.EACCES: "permission denied (ports below 1024 need root or CAP_NET_BIND_SERVICE)",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EAFNOSUPPORT: "this machine has no such address family",
}


class BindError(Exception):
    """An address could not be listened on; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket and the listener of the configuration that it belongs to."""

    socket: socket.socket
    bind: Bind
    config: ListenConfig

    @property
    def address(self) -> str:
        """What it is really bound to, as a user writes it; the port is known even if 0 was asked for."""
        if self.bind.path is not None:
            return str(self.bind)
        return str(Bind(host=self.bind.host, port=self.socket.getsockname()[1]))

    def close(self) -> None:
        """Stop listening and, for a unix socket, take its name away."""
        self.socket.close()
        if self.bind.path is not None:
            with contextlib.suppress(OSError):
                self.bind.path.unlink()


def open_listeners(configs: Iterable[ListenConfig], tick: float) -> list[Listener]:
    """Bind and listen on every address, or on none: raises BindError and leaves nothing open.

    tick: seconds after which a blocked accept(2) returns (SO_RCVTIMEO).
    """
    listeners: list[Listener] = []
    try:
        for config in configs:
            binds = [bind for bind in config.bind if not _left_out(bind, config)]
            listeners += [Listener(_open(bind, config.backlog, tick), bind, config) for bind in binds]
    except BindError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _left_out(bind: Bind, config: ListenConfig) -> bool:
    """Whether `bind` is the IPv6 half of "every address" on a machine without IPv6."""
    both = bind.host == EVERY_IPV6 and any(
        other.host == EVERY_IPV4 and other.port == bind.port for other in config.bind
    )
    return both and not _has_ipv6()


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _open(bind: Bind, backlog: int, tick: float) -> socket.socket:
    try:
        sock = _unix(bind) if bind.path is not None else _tcp(bind)
        kernel.receive_timeout(sock, tick)
        sock.listen(backlog)
        if not kernel.ACCEPT_TIMES_OUT:
            sock.setblocking(False)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise BindError(f"cannot listen on {bind}: {reason}") from error
    return sock


def _tcp(bind: Bind) -> socket.socket:
    assert bind.host is not None
    sock = socket.socket(socket.AF_INET if bind.host.version == 4 else socket.AF_INET6)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if bind.host.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        kernel.tune_listener(sock)
        sock.bind((str(bind.host), bind.port))
    except OSError:
        sock.close()
        raise
    return sock


def _unix(bind: Bind) -> socket.socket:
    assert bind.path is not None
    _remove_stale(str(bind.path))
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(bind.path))
        os.chmod(bind.path, UNIX_MODE)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket that a dead server left behind; one that answers, or is no socket, stays."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file of that name that is not a socket")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                raise OSError(errno.EADDRINUSE, "in use")
        os.unlink(path)
