"""Connections that say the first byte of a greeting and nothing more, and come again whenever they are cut.

Run as a program: `python -m tests.bench.flood PORT COUNT`; says "ready" when all of them are there, and ends
with its standard input. They come from 127.0.0.3, so that whoever counts by address can tell them apart.
"""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = "127.0.0.3"
REPOSITORY = Path(__file__).parents[2]


@contextlib.contextmanager
def flooding(port: int, count: int) -> Iterator[None]:
    """Hold `count` such connections to a port of 127.0.0.1 until the block ends."""
    words = [sys.executable, "-m", "tests.bench.flood", str(port), str(count)]
    with subprocess.Popen(
        words, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdout.readline()
            yield
        finally:
            process.stdin.close()


def _open(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(
        socket.IPPROTO_IP, getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24), 1
    )  # Python's from 3.12
    sock.bind((SOURCE, 0))
    sock.connect(("127.0.0.1", port))
    sock.sendall(b"\x05")
    sock.setblocking(False)
    return sock


def main(port: int, count: int) -> None:
    """Keep them open until nobody holds the other end of standard input."""
    poller = select.poll()
    poller.register(sys.stdin, select.POLLIN)
    held: dict[int, socket.socket] = {}
    said = False
    while True:
        for _ in range(count - len(held)):
            with contextlib.suppress(OSError):  # cut before it had spoken: the next turn tries again
                sock = _open(port)
                held[sock.fileno()] = sock
                poller.register(sock, select.POLLIN)
        if not said:
            said = True
            print("ready", flush=True)
        for descriptor, _ in poller.poll(10):
            if descriptor == sys.stdin.fileno():
                return
            poller.unregister(descriptor)
            held.pop(descriptor).close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
