"""Listening sockets: bound by the supervisor, waited on by every worker.

One socket an address, shared: clients wait in one queue for whichever worker is free, and the queue outlives
workers, generations and, handed on, the program. So an address that stays keeps its socket.

A second server that is started by mistake must not share an address: with SO_REUSEPORT it would quietly take
half of the clients. So a socket binds and listens alone, and only then sets SO_REUSEPORT, which lets others
of our own come beside it (every address beside one address of the same port). There is no moment at which
two servers could both get in: who comes second fails in bind(2) or in listen(2).

SO_REUSEADDR lets it bind while old connections linger. IPv6 sockets take IPv6 alone, so that a listener on
every address is two sockets and no client's IPv4 address comes in disguise.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from forksocks.config.model import Bind, ListenConfig
from forksocks.config.values import readable
from forksocks.host import kernel
from forksocks.host.deadline import Deadline

UNIX_MODE = 0o666  # of a unix socket: its folder decides who reaches it
EVERY_IPV4, EVERY_IPV6 = IPv4Address(0), IPv6Address(0)
LOOK = 0.05  # seconds between two tries for an address that is about to come free
ANOTHER_OF_US = "another process that shares its ports listens there (another forksocks?)"
_REASONS = {
    errno.EADDRINUSE: "the address is in use by another process",
    errno.EACCES: "permission denied",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EAFNOSUPPORT: "this machine has no such address family",
}


class BindError(Exception):
    """An address could not be listened on; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A listening socket and where it listens.

    asked: the address that it was bound for, whose port may have been 0. at: the same with the real port.
    file: device and inode of a unix socket's name that is ours to remove. name: what it was called by whoever
    handed it to us, None if we made it.
    """

    socket: socket.socket
    asked: Bind
    at: Bind
    file: tuple[int, int] | None = None
    name: str | None = None

    def is_reachable(self) -> bool:
        """Whether clients still find it: a unix socket's name may have been removed, or taken over."""
        return self.asked.path is None or self.file in (None, file_at(self.asked.path))

    def remove_name(self) -> None:
        """Take a unix socket's name away if it is ours still."""
        if self.asked.path is not None and self.file is not None and self.is_reachable():
            with contextlib.suppress(OSError):
                self.asked.path.unlink()

    def close(self) -> None:
        """Stop listening for good, once no process of ours does; who else has the socket keeps its name."""
        self.socket.close()
        if self.asked.path is not None and _listener(self.asked.path) is None:
            self.remove_name()


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket and the listener of the configuration that it belongs to."""

    endpoint: Endpoint
    config: ListenConfig

    @property
    def socket(self) -> socket.socket:
        """The listening socket."""
        return self.endpoint.socket

    @property
    def bind(self) -> Bind:
        """The address as it was asked for."""
        return self.endpoint.asked

    @property
    def address(self) -> str:
        """What it is really bound to, as a user writes it."""
        return str(self.endpoint.at)


def open_listeners(
    configs: Iterable[ListenConfig],
    tick: float,
    at_hand: Iterable[Endpoint] = (),
    ports: Collection[int] = (),
    patience: float = 0.0,
) -> list[Listener]:
    """Listen on every address, or raise BindError and leave nothing open that was not `at_hand`.

    tick: seconds after which a blocked accept(2) returns (SO_RCVTIMEO). at_hand: sockets to take instead of
    new ones. ports: those that our own processes may still listen on. patience: seconds to wait for an
    address from which another server's workers are withdrawing.
    """
    wanted = [(config, bind) for config in configs for bind in config.bind if not _left_out(bind, config)]
    suited = _suited([bind for _, bind in wanted], [each for each in at_hand if each.is_reachable()])
    for endpoint in (each for endpoints in suited for each in endpoints):
        prepare(endpoint.socket, tick)
    listeners: list[Listener] = []
    opened: list[Endpoint] = []
    deadline = Deadline(patience)
    try:
        for (config, bind), endpoints in zip(wanted, suited, strict=True):
            if not endpoints:
                endpoints.append(_open(bind, config.backlog, tick, ports, deadline))
                opened += endpoints
            listeners += [Listener(endpoint, config) for endpoint in endpoints]
    except BindError:
        for endpoint in opened:
            endpoint.close()
        raise
    return listeners


def _suited(binds: Sequence[Bind], at_hand: Sequence[Endpoint]) -> list[list[Endpoint]]:
    """For each address the sockets at hand that suit it, each socket once: whoever asks most exactly first.

    A name may stand for several sockets. An address whose port may be any takes the one that it had.
    """
    suited: list[list[Endpoint]] = [[] for _ in binds]
    left = list(at_hand)
    for suits in (_has_the_name, _is_at, _was_asked_for):
        for bind, found in zip(binds, suited, strict=True):
            for endpoint in [each for each in left if suits(each, bind)]:
                if not found or bind.name is not None:
                    found.append(endpoint)
                    left.remove(endpoint)
    return suited


def _has_the_name(endpoint: Endpoint, bind: Bind) -> bool:
    return bind.name is not None and endpoint.name == bind.name


def _is_at(endpoint: Endpoint, bind: Bind) -> bool:
    return endpoint.at == bind or _same_address(endpoint.at, bind)


def _same_address(one: Bind, other: Bind) -> bool:
    """Whether two ways to write a link-local address, `%eth0` and `%2`, mean the same."""
    if not isinstance(one.host, IPv6Address) or not isinstance(other.host, IPv6Address):
        return False
    try:
        return _address6(one.host, one.port) == _address6(other.host, other.port)
    except OSError:
        return False


def _was_asked_for(endpoint: Endpoint, bind: Bind) -> bool:
    """An inherited socket does not say whether its port was asked for; any will do."""
    inherited = endpoint.name is not None and endpoint.at.host == bind.host and bind.host is not None
    return bind.port == 0 and (endpoint.asked == bind or inherited)


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
    except OSError as error:  # all but these two say nothing about the machine
        return error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
    return True


def _open(bind: Bind, backlog: int, tick: float, ports: Collection[int], deadline: Deadline) -> Endpoint:
    if bind.name is not None:
        raise BindError(f"cannot listen on {bind}: nobody handed us a socket of that name")
    try:
        if bind.path is not None:
            return _unix(bind.path, backlog, tick, deadline)
        sock = _tcp_in_turn(bind, backlog, tick, ports, deadline)
        return Endpoint(sock, bind, Bind(host=bind.host, port=sock.getsockname()[1]))
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        if error.errno == errno.EACCES and bind.path is None:
            reason += " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
        raise BindError(f"cannot listen on {bind}: {reason}") from error


def _tcp_in_turn(
    bind: Bind, backlog: int, tick: float, ports: Collection[int], deadline: Deadline
) -> socket.socket:
    """Alone; beside others if they are ours; or as soon as the workers of a dead server have let go."""
    while True:
        try:
            return _tcp(bind, backlog, tick, beside=False)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            _bound(bind, beside=True).close()  # raises if it is no forksocks that is in the way
            if bind.port in ports:
                return _tcp(bind, backlog, tick, beside=True)
            if deadline.passed():
                raise BindError(f"cannot listen on {bind}: {ANOTHER_OF_US}") from error
        time.sleep(LOOK)


def _tcp(bind: Bind, backlog: int, tick: float, beside: bool) -> socket.socket:
    sock = _bound(bind, beside)
    try:
        prepare(sock, tick)
        sock.listen(backlog)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        sock.close()
        raise
    return sock


def _bound(bind: Bind, beside: bool) -> socket.socket:
    assert bind.host is not None
    sock = socket.socket(socket.AF_INET if bind.host.version == 4 else socket.AF_INET6)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(beside))
        if bind.host.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(bind.host), bind.port) if bind.host.version == 4 else _address6(bind.host, bind.port))
    except OSError:
        sock.close()
        raise
    return sock


def _address6(host: IPv6Address, port: int) -> tuple[str, int, int, int]:
    """As bind(2) wants it: Python drops a zone that stands in the text (ipv6(7), sin6_scope_id)."""
    return str(host).partition("%")[0], port, 0, _scope(host)


def _scope(host: IPv6Address) -> int:
    """The number of the interface that a link-local address is on, 0 for others. Raises OSError."""
    if not host.scope_id or host.scope_id.isdecimal():
        return int(host.scope_id or 0)
    try:
        return socket.if_nametoindex(host.scope_id)
    except OSError:
        raise OSError(errno.ENODEV, f"this machine has no interface {readable(host.scope_id)}") from None


def _unix(path: Path, backlog: int, tick: float, deadline: Deadline) -> Endpoint:
    remove_stale(path, deadline)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(path))
        os.chmod(path, UNIX_MODE)
        prepare(sock, tick)
        sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    bind = Bind(path=path)
    return Endpoint(sock, bind, bind, file_at(path))


def prepare(sock: socket.socket, tick: float) -> None:
    """Set what workers rely on, on a socket of any origin."""
    sock.setblocking(kernel.ACCEPT_TIMES_OUT)
    kernel.receive_timeout(sock, tick)
    if sock.family != socket.AF_UNIX:
        kernel.tune_listener(sock)


def listen_again(listeners: Sequence[Listener]) -> None:
    """Apply the backlogs of a new configuration to sockets that listen already (listen(2) again does)."""
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.socket.listen(listener.config.backlog)


def file_at(path: Path) -> tuple[int, int] | None:
    """Device and inode of what stands under a name, None if nothing does."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove_stale(path: Path, deadline: Deadline) -> None:
    """Remove a socket that a dead server left behind; one that answers, or is no socket, stays.

    deadline: until then the workers of a dead server may still withdraw from it.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file of that name that is not a socket")
        while (pid := _listener(path)) is not None:
            if deadline.passed() or _exists(pid):
                raise OSError(errno.EADDRINUSE, "in use")
            time.sleep(LOOK)
        os.unlink(path)


def _exists(pid: int) -> bool:
    """Whether there is such a process; 0 is nobody in particular (kill(2))."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return pid != 0


def _listener(path: Path) -> int | None:
    """Who called listen(2) on the socket of that name, dead or alive; 0: unknown, None: nobody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        error = probe.connect_ex(str(path))
        if error == errno.ECONNREFUSED:
            return None
        return 0 if error else kernel.peer_process(probe)  # with an error: a server's queue may be full
