"""Listening sockets that a reload gives up: they get no new client, and those who have come are served.

The more specific of two listening sockets gets the client for as long as it listens. When 127.0.0.1:1080
gives way to 0.0.0.0:1080, clients come to the old socket until the moment of its close, which resets who
waits in its queue. So the kernel passes it over first; then its workers empty the queue, and retire. Who has
connected and not said a word by then is reset all the same (TCP_DEFER_ACCEPT keeps it out of the queue).

Never one that another program has too, the one before an upgrade or after: the socket is the same for both.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Collection

from forksocks.host import kernel
from forksocks.host.deadline import Deadline

PATIENCE = 0.5  # seconds at most for workers to empty the queues; mostly they are empty
LOOK = 0.001


def withdraw(sockets: Collection[socket.socket]) -> None:
    """Let TCP listeners get no new client, and wait a moment until their workers have taken all who came."""
    withdrawn = [each for each in sockets if each.family != socket.AF_UNIX and kernel.pass_over(each)]
    deadline = Deadline(PATIENCE)
    while any(map(_has_clients, withdrawn)) and not deadline.passed():
        time.sleep(LOOK)


def _has_clients(listener: socket.socket) -> bool:
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    return bool(poller.poll(0))
