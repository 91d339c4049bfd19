"""Ports for those who come to us: any that the kernel gives, or one of a range that firewalls let through."""

from __future__ import annotations

import errno
import os
import random
import socket

from forksocks.config.model import Address, Ports


def written(address: Address) -> str:
    """An address as accept(2) and recvfrom(2) give it here: C writes some IPv6 addresses unlike Python."""
    if address.version == 4:
        return str(address)
    return socket.inet_ntop(socket.AF_INET6, address.packed)


def bind_within(sock: socket.socket, host: str, ports: Ports | None, scope: int = 0) -> None:
    """Bind to a free port of the range, from a random one on; OSError (EADDRINUSE) if all are taken.

    scope: the interface of a link-local IPv6 address (ipv6(7), sin6_scope_id).
    """
    rest = (0, scope) if sock.family == socket.AF_INET6 else ()
    if ports is None:
        sock.bind((host, 0, *rest))
        return
    count = ports.last - ports.first + 1
    start = random.randrange(count)  # noqa: S311 - a hint against clashes of workers, no secret
    for step in range(count):
        try:
            sock.bind((host, ports.first + (start + step) % count, *rest))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return
    raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}: all of {ports}")
