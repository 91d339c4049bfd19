"""Listening sockets that a reload gives up: they get no new client, and those who have come are served.

The more specific of two listening sockets gets the client for as long as it listens. When 127.0.0.1:1080
gives way to 0.0.0.0:1080, clients come to the old socket until the moment of its close, which resets who
waits in its queue. So it is first bound to an interface that does not exist: the kernel passes it over from
then on (Linux: compute_score() of net/ipv4/inet_hashtables.c), while handshakes that have begun still end in
its queue. Then its workers empty that, and retire.
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import time
from collections.abc import Collection

from forksocks.host.deadline import Deadline

# Of <asm-generic/socket.h>, since Linux 5.0; by number, for it takes an interface that does not exist.
SO_BINDTOIFINDEX = 62
NOWHERE = 2**31 - 1
PATIENCE = 0.5  # seconds at most for workers to empty the queues; mostly they are empty
LOOK = 0.001


def withdraw(sockets: Collection[socket.socket]) -> None:
    """Let TCP listeners get no new client, and wait a moment until their workers have taken all who came."""
    withdrawn = [each for each in sockets if each.family != socket.AF_UNIX and _is_passed_over(each)]
    deadline = Deadline(PATIENCE)
    while any(map(_has_clients, withdrawn)) and not deadline.passed():
        time.sleep(LOOK)


def _is_passed_over(listener: socket.socket) -> bool:
    """Have the kernel pass it over; False where it does not: elsewhere, or bound to an interface already."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NOWHERE)
            return True
    return False


def _has_clients(listener: socket.socket) -> bool:
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    return bool(poller.poll(0))
