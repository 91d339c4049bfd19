"""Questions to another process and their answers, over SOCK_SEQPACKET pairs: one message each way.

An asking thread claims a channel, sends its question with a fresh tag and waits for the answer with that tag
until its deadline. What keeps this true when things die:

- The supervisor keeps both ends of every channel, so either side may be replaced and the queue between them
  stays. A new answerer says HELLO on each channel; who waits there asks again.
- An answer that comes after its deadline is thrown away by its tag. Until it has come its channel is late:
  it is not lent, because whoever answers there is still busy.
- One asker (a client's network) holds at most `share` channels, so that slow questions of one do not delay
  the others', and at most `queue` more of its questions wait; the rest are turned away at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import count
from time import monotonic

from forksocks.host.deadline import Deadline

TAG = 8
HELLO = bytes(TAG)
LARGEST = 68 * 1024  # bytes of a question or an answer: a GSSAPI token has up to 64 KiB (RFC 1961 section 3)
# How often a thread that waits for a free channel looks whether a late one has come home, in seconds.
LOOK = 0.05
# Questions of one asker that may wait for a channel: a page of a browser, not a flood.
QUEUE = 32
# Seconds for which one whose question came to nothing comes after the others, and of how many that is known.
WASTEFUL, REMEMBERED = 60.0, 4096


class Busy(TimeoutError):
    """As many questions of this asker wait as may; its text says so."""


class Channel:
    """The asking end of one channel."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._expected = b""

    def ask(self, tag: bytes, question: bytes, deadline: Deadline) -> bytes:
        """Send a question, return its answer.

        Raises TimeoutError at the deadline, ConnectionError without a peer.
        """
        packet = tag + question
        self._expected = tag
        self._forget()
        self._send(packet)
        while self._poller.poll(deadline.milliseconds()):
            answer = self._socket.recv(TAG + LARGEST)
            if not answer:
                raise ConnectionError("the answering process is gone")
            if answer[:TAG] == tag:
                return answer[TAG:]
            if answer[:TAG] == HELLO:
                self._send(packet)
        raise TimeoutError

    def is_over(self) -> bool:
        """Whether nobody will ever answer again: the answering ends are all closed."""
        return _is_over(self._socket)

    def close(self) -> None:
        """Give it back; who asks afterwards gets OSError."""
        self._socket.close()

    def came_home(self) -> bool:
        """Whether the answer of a question that ran out of time has come after all, or can come no more."""
        while self._poller.poll(0):
            answer = self._socket.recv(TAG + LARGEST)
            if not answer or answer[:TAG] in (self._expected, HELLO):
                return True
        return False

    def _forget(self) -> None:
        """Throw away what came while nobody waited: late answers, and the HELLO of an answerer's start."""
        while self._poller.poll(0) and self._socket.recv(TAG + LARGEST):
            pass

    def _send(self, packet: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody reads: the deadline will say so
            self._socket.send(packet, socket.MSG_DONTWAIT)


class Channels:
    """The channels of one worker to one kind of service; any thread may ask.

    A quarter of them is for askers who have nothing under way and have wasted nobody's time lately: however
    many others there are, who wait for answers that never come or guess passwords, these get their turn.
    """

    def __init__(self, sockets: Sequence[socket.socket], share: int, queue: int = QUEUE) -> None:
        self._free = [Channel(sock) for sock in sockets]
        self._late: list[tuple[Channel, Hashable]] = []
        self._held: Counter[Hashable] = Counter()
        self._waiting: dict[
            threading.Condition, Hashable
        ] = {}  # who is called, and its asker; first come first
        self._wasteful: dict[Hashable, float] = {}  # until when an asker is; the oldest come first
        self._share = share
        self._reserve = len(sockets) // 4
        self._queue = queue
        self._lock = threading.Lock()
        self._tags = count(1)
        self._epoch = os.urandom(TAG - 4)  # a worker that died here before must not be answered to us

    def ask(self, question: bytes, asker: Hashable, deadline: Deadline) -> bytes:
        """Return the answer to `question`, asked for `asker`.

        Raises TimeoutError at the deadline or as Busy at once, ConnectionError without an answering process.
        """
        channel = self._claim(asker, deadline)
        home = False
        try:
            tag = self._epoch + (next(self._tags) & 0xFFFFFFFF).to_bytes(4, "big")
            answer = channel.ask(tag, question, deadline)
            home = True
            return answer
        finally:
            with self._lock:
                if home:
                    self._return(channel, asker)
                else:
                    self._late.append((channel, asker))
            if not home:
                self.wasted(asker)

    def wasted(self, asker: Hashable) -> None:
        """What `asker` has asked came to nothing: for WASTEFUL seconds it comes after those who ask well."""
        with self._lock:
            self._wasteful.pop(asker, None)
            self._wasteful[asker] = monotonic() + WASTEFUL
            if len(self._wasteful) > REMEMBERED:
                del self._wasteful[next(iter(self._wasteful))]

    def _claim(self, asker: Hashable, deadline: Deadline) -> Channel:
        with self._lock:
            if not self._may_have_one(asker):
                self._wait(asker, deadline)
            self._held[asker] += 1
            channel = self._free.pop()
            self._call_next()  # others may have come free before we woke
            return channel

    def _may_have_one(self, asker: Hashable) -> bool:
        least = 0 if self._comes_first(asker) else self._reserve
        return len(self._free) > least and self._held[asker] < self._share

    def _comes_first(self, asker: Hashable) -> bool:
        return not self._held[asker] and self._wasteful.get(asker, 0.0) < monotonic()

    def _wait(self, asker: Hashable, deadline: Deadline) -> None:
        """Wait until there is a channel for this asker."""
        if list(self._waiting.values()).count(asker) >= self._queue:
            raise Busy(f"{self._queue} of this client wait already")
        called = threading.Condition(self._lock)
        self._waiting[called] = asker
        try:
            while not self._may_have_one(asker):
                self._welcome()
                if self._may_have_one(asker):
                    break
                if deadline.passed():
                    raise TimeoutError
                called.wait(min(LOOK, deadline.remaining()))
        finally:
            del self._waiting[called]

    def _welcome(self) -> None:
        """Lend late channels again whose answers have come; until then they count as their askers'."""
        for late in [late for late in self._late if late[0].came_home()]:
            self._late.remove(late)
            self._return(*late)

    def _return(self, channel: Channel, asker: Hashable) -> None:
        self._free.append(channel)
        self._held[asker] -= 1
        if not self._held[asker]:
            del self._held[asker]
        self._call_next()

    def _call_next(self) -> None:
        """Wake one of those who wait and may have a channel now: who comes first, or has waited longest."""
        may = [each for each in self._waiting.items() if self._may_have_one(each[1])]
        if may:
            called, _ = min(may, key=lambda each: not self._comes_first(each[1]))
            called.notify()


def serve(sock: socket.socket, answer: Callable[[bytes], bytes]) -> None:
    """Answer the questions of one channel, one after the other, until its asking ends are all closed."""
    greet(sock)
    while answer_next(sock, answer):
        pass


def greet(sock: socket.socket) -> None:
    """Say that somebody new answers here: who waits for the one before asks again."""
    _tell(sock, HELLO)


def answer_next(sock: socket.socket, answer: Callable[[bytes], bytes]) -> bool:
    """Wait for one question and answer it; False when nobody can ask any more."""
    question = _next(sock)
    if question is None:
        return False
    if len(question) >= TAG:  # less is no question: somebody who took a worker over plays with us
        said = answer(question[TAG:])
        # A packet that is too large would be an error.
        _tell(sock, question[:TAG] + (said if len(said) <= LARGEST else b""))
    return True


def _next(sock: socket.socket) -> bytes | None:
    """Wait for a question; None when nobody can ask any more, whether or not they had read everything."""
    with contextlib.suppress(ConnectionError):
        question = sock.recv(TAG + LARGEST)
        if question or not _is_over(sock):
            return question
    return None


def _is_over(sock: socket.socket) -> bool:
    """Whether the other ends are all closed; an empty packet looks the same to recv(2)."""
    poller = select.poll()
    poller.register(sock, 0)
    return bool(poller.poll(0))  # POLLHUP, which comes unasked


def _tell(sock: socket.socket, packet: bytes) -> None:
    with contextlib.suppress(BlockingIOError, ConnectionError):  # nobody has read for long: nobody waits
        sock.send(packet, socket.MSG_DONTWAIT)


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the asking and the answering end of a new channel."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
