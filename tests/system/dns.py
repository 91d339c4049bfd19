"""A DNS server that says what a test wants (RFC 1035): addresses, nothing, or nothing at all.

It answers over UDP and, where an answer is longer than UDP carries, over TCP; and it keeps every question.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address

A, AAAA = 1, 28
NXDOMAIN = 3
_SHORT = 512  # bytes of an answer over UDP, RFC 1035 section 4.2.1

# What a name has: addresses of either family; None is a server that does not answer.
Addresses = Sequence[str] | None


class Dns:
    """names: what each has, or a list of what it has first, second ... and then for good. Others are unknown.

    lies: names whose questions are answered by whatever a function makes of them. asked: names and types of
    every question so far.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[Addresses]] = {}
        self.lies: dict[str, Callable[[bytes], bytes]] = {}
        self.asked: list[tuple[str, int]] = []
        self._turns: dict[tuple[str, int], int] = {}
        self._lock = threading.Lock()

    def say(self, name: str, *addresses: Addresses) -> None:
        """Let `name` have these addresses: each argument is one answer, the last one stays."""
        self.names[name] = list(addresses)

    def count(self, name: str, kind: int = A) -> int:
        """How often a name's addresses of one family were asked for."""
        return self.asked.count((name, kind))

    def answer(self, question: bytes, longest: int) -> bytes | None:
        """What to send back, None for nothing."""
        name, end = _name(question)
        (kind,) = struct.unpack_from("!H", question, end)
        with self._lock:
            self.asked.append((name, kind))
            turn = self._turns.get((name, kind), 0)
            self._turns[name, kind] = turn + 1
        if name in self.lies:
            return self.lies[name](question)
        turns = self.names.get(name)
        if turns is None:
            return _message(question, end + 4, [], NXDOMAIN)
        addresses = turns[min(turn, len(turns) - 1)]
        if addresses is None:
            return None
        packed = [ip_address(each).packed for each in addresses]
        found = [each for each in packed if len(each) == (4 if kind == A else 16)]
        message = _message(question, end + 4, found)
        if len(message) <= longest:
            return message
        return _message(question, end + 4, [], truncated=True)


@contextlib.contextmanager
def answering(udp: socket.socket, tcp: socket.socket) -> Iterator[Dns]:
    """Answer on a bound datagram socket and a listening one, until the block ends; both are closed then."""
    dns = Dns()
    threads = [
        threading.Thread(target=_answer_datagrams, args=(dns, udp), daemon=True),
        threading.Thread(target=_answer_connections, args=(dns, tcp), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield dns
    finally:
        for sock in (udp, tcp):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes the thread, even where it says ENOTCONN
        for thread in threads:
            thread.join()
        udp.close()
        tcp.close()


def _answer_datagrams(dns: Dns, sock: socket.socket) -> None:
    while True:
        question, peer = sock.recvfrom(4096)
        if not question:
            return
        answer = dns.answer(question, _SHORT)
        if answer is not None:
            sock.sendto(answer, peer)


def _answer_connections(dns: Dns, listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_answer_stream, args=(dns, connection), daemon=True).start()


def _answer_stream(dns: Dns, sock: socket.socket) -> None:
    """Messages with their length before them (RFC 1035 section 4.2.2)."""
    with sock, contextlib.suppress(OSError), sock.makefile("rb") as stream:
        while length := stream.read(2):
            answer = dns.answer(stream.read(int.from_bytes(length, "big")), 0xFFFF)
            if answer is None:
                return
            sock.sendall(len(answer).to_bytes(2, "big") + answer)


def _name(question: bytes) -> tuple[str, int]:
    """The name that is asked, and where its type stands; bytes are shown as they came."""
    labels, at = [], 12
    while length := question[at]:
        labels.append(question[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    return ".".join(labels), at + 1


def _message(
    question: bytes, end: int, found: Sequence[bytes], code: int = 0, truncated: bool = False
) -> bytes:
    """Header, the question again, and an address record with a TTL of 0 for each of `found`."""
    flags = 0x8180 | (0x0200 if truncated else 0) | code
    records = b"".join(
        struct.pack("!HHHIH", 0xC00C, A if len(packed) == 4 else AAAA, 1, 0, len(packed)) + packed
        for packed in found
    )
    return question[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0) + question[12:end] + records
