"""The sockets on which the admin process answers: made by the supervisor, whoever it is then."""

from __future__ import annotations

import errno
import grp
import os
import socket
from collections.abc import Collection, Sequence

from forksocks.config.model import AdminConfig, Bind, ListenConfig
from forksocks.host.deadline import Deadline
from forksocks.process.listeners import BindError, Endpoint, file_at, open_listeners, prepare, remove_stale

BACKLOG = 64


def open_endpoint(
    config: AdminConfig, tick: float, at_hand: Sequence[Endpoint], patience: float = 0.0
) -> Endpoint | None:
    """Listen where the configuration says, None if nowhere; one that is `at_hand` is kept.

    tick: seconds after which a blocked accept(2) returns. patience: seconds to wait for a dead server's
    process to withdraw. Raises BindError.
    """
    path = config.socket
    if path is None:
        return None
    try:
        for endpoint in at_hand:
            if endpoint.asked.path == path and endpoint.is_reachable():
                _give(config)
                return endpoint
        remove_stale(path, Deadline(patience))
        sock = socket.socket(socket.AF_UNIX)
        before = os.umask(0o177)  # nobody may connect between bind and chmod
        try:
            sock.bind(str(path))
            prepare(sock, tick)
            sock.listen(BACKLOG)
            _give(config)
        except OSError:
            sock.close()
            raise
        finally:
            os.umask(before)
    except OSError as error:
        reason = "in use by another server" if error.errno == errno.EADDRINUSE else error.strerror
        raise BindError(f"cannot listen on {path} for forksocksctl: {reason or error}") from error
    bind = Bind(path=path)
    return Endpoint(sock, bind, bind, file_at(path))


def open_http(
    config: AdminConfig, tick: float, at_hand: Sequence[Endpoint], ports: Collection[int], patience: float
) -> Endpoint | None:
    """Listen for HTTP where the configuration says, None if nowhere. Raises BindError.

    tick, at_hand, ports, patience: as of `open_listeners`.
    """
    if config.http is None:
        return None
    wanted = ListenConfig(name="admin", bind=(config.http,), auth=(), backlog=BACKLOG)
    (listener,) = open_listeners([wanted], tick, at_hand, ports, patience)
    return listener.endpoint


def group_of(config: AdminConfig) -> int | None:
    """The gid whose members may ask; None for nobody, also when the group has vanished."""
    try:
        return None if config.group is None else grp.getgrnam(config.group).gr_gid
    except KeyError:
        return None


def _give(config: AdminConfig) -> None:
    """Let the group in, or nobody but the owner."""
    assert config.socket is not None
    group = group_of(config)
    if group is not None:
        os.chown(config.socket, -1, group)
    os.chmod(config.socket, 0o600 if group is None else 0o660)
