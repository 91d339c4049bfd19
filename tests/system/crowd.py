"""One process with many tunnels, both ends of each: `python -m tests.system.crowd HOST PORT NUMBER`.

It opens NUMBER tunnels through the proxy to a listener of its own and says "open". At every line that it is
given it sends a byte through each tunnel and one back, and says "carried". It ends when its input does.

Descriptors are few in a process, so a crowd is several of these; each is one thread that does one thing after
the other, which keeps the two ends of a tunnel together: they are opened in the same order.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.system.client import greeting, request

ROOT = Path(__file__).parents[2]
PATIENCE = 100.0  # seconds that one step of one tunnel may take

Tunnel = tuple[socket.socket, socket.socket]


class Crowd:
    """The processes of a crowd; each word goes to all of them."""

    def __init__(self, proxy: tuple[str, int], tunnels: int, processes: int) -> None:
        share = tunnels // processes
        words = [sys.executable, "-m", "tests.system.crowd", proxy[0], str(proxy[1]), str(share)]
        self._processes = [
            subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(processes)
        ]
        self._hear("open")

    def carry(self) -> None:
        """Send a byte each way through every tunnel."""
        for process in self._processes:
            assert process.stdin
            process.stdin.write("carry\n")
            process.stdin.flush()
        self._hear("carried")

    def _hear(self, word: str) -> None:
        for process in self._processes:
            assert process.stdout
            assert process.stdout.readline().strip() == word

    def leave(self) -> None:
        """Close all tunnels."""
        for process in self._processes:
            process.communicate(timeout=PATIENCE)


@contextlib.contextmanager
def crowd(proxy: tuple[str, int], tunnels: int, processes: int) -> Iterator[Crowd]:
    """Open tunnels through the proxy, in that many processes, and close them in the end."""
    made = Crowd(proxy, tunnels, processes)
    try:
        yield made
    finally:
        made.leave()


def open_one(proxy: tuple[str, int], listener: socket.socket) -> Tunnel:
    client = socket.create_connection(proxy, timeout=PATIENCE)
    client.sendall(greeting() + request("127.0.0.1", listener.getsockname()[1]))
    answer = b""
    while len(answer) < 12 and (more := client.recv(12 - len(answer))):
        answer += more
    assert answer[:4] == b"\5\0\5\0", answer
    origin, _ = listener.accept()
    origin.settimeout(PATIENCE)
    return client, origin


def carry_one_byte_each_way(tunnels: list[Tunnel]) -> None:
    for number, (client, _) in enumerate(tunnels):
        client.sendall(bytes((number % 251,)))
    for number, (_, origin) in enumerate(tunnels):
        assert origin.recv(2) == bytes((number % 251,))
        origin.sendall(bytes((250 - number % 251,)))
    for number, (client, _) in enumerate(tunnels):
        assert client.recv(2) == bytes((250 - number % 251,))


def main(host: str, port: str, number: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        tunnels = [open_one((host, int(port)), listener) for _ in range(int(number))]
    print("open", flush=True)
    for _ in sys.stdin:
        carry_one_byte_each_way(tunnels)
        print("carried", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
