"""The name servers that the C library asks (resolv.conf(5)), and whether each of them answers.

One datagram to each: who serves the root (RFC 1035 section 4.1). Any answer will do, a refusal too: what is
looked for is the server that says nothing, for which every look-up waits.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from forksocks.host.deadline import Deadline

FILE = Path("/etc/resolv.conf")
PORT = 53
MOST = 3  # MAXNS of resolv.conf(5)
LOCAL = "127.0.0.1"  # who is asked when the file names nobody
_HEADER = b"\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"  # recursion desired, one question
_QUESTION = b"\x00\x00\x02\x00\x01"  # the root, NS, IN


def configured(path: Path = FILE) -> Sequence[str]:
    """The addresses that are asked, in their order."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return [LOCAL]
    words = [line.split() for line in lines]
    return [each[1] for each in words if len(each) > 1 and each[0] == "nameserver"][:MOST] or [LOCAL]


def answers(address: str, patience: float, port: int = PORT) -> bool:
    """Whether a server says anything within `patience` seconds."""
    tag = os.urandom(2)
    deadline = Deadline(patience)
    try:
        ((family, _, _, _, where), *_) = socket.getaddrinfo(
            address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(where)
            sock.send(tag + _HEADER + _QUESTION)
            while not deadline.passed():
                sock.settimeout(max(0.001, deadline.remaining()))
                if sock.recv(512).startswith(tag):
                    return True
    except OSError:  # no such server, or nothing in time
        return False
    return False
