"""The far end of all loads: one port, and the first byte of a connection says what it wants.

E: echo. S, then 4 bytes: that many bytes of the pattern. D: take all until the end, then send their SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import struct
import sys

from tests.system import origins

ECHO, SOURCE, DIGEST = b"E", b"S", b"D"
LENGTH = struct.Struct("!I")


def serve(sock: socket.socket) -> None:
    """One connection."""
    sock.settimeout(300)
    wish = sock.recv(1)
    if wish == ECHO:
        origins.echo(sock)
    elif wish == SOURCE:
        size = LENGTH.unpack(sock.recv(LENGTH.size, socket.MSG_WAITALL))[0]
        for piece in origins.pattern(size):
            sock.sendall(piece)
    elif wish == DIGEST:
        digest = hashlib.sha256()
        while data := sock.recv(origins.CHUNK):
            digest.update(data)
        sock.sendall(digest.digest())


def main() -> None:
    """Serve until standard input ends: print the ports of the services and of the web server."""
    with origins.serving(serve) as origin, origins.web() as web:
        print(origin.port, web.port, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main()
