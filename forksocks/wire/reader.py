"""Exactly so many bytes from any source.

One receive often brings a whole message and the beginning of the next; what is left over stays here, and at
the end of the handshake it is the first payload of the relay.
"""

from __future__ import annotations

from collections.abc import Callable

# More than any SOCKS message (the longest is 515 bytes, RFC 1929), less than what a stranger may make us
# keep.
CHUNK = 4096


class EndOfStream(Exception):
    """The peer closed in the middle of a message."""


class Reader:
    """Reads whole messages from `receive`: given a size it returns up to that many bytes, b"" at the end.

    Whatever `receive` raises passes through.
    """

    __slots__ = ("_buffer", "_receive")

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._buffer = b""

    def exactly(self, count: int) -> bytes:
        """Return the next `count` bytes; raise EndOfStream if the source ends before them."""
        buffer = self._buffer
        while len(buffer) < count:
            data = self._receive(CHUNK)
            if not data:
                raise EndOfStream
            buffer += data
        self._buffer = buffer[count:]
        return buffer[:count]

    def first(self) -> int:
        """Return the next byte and leave it unread; raise EndOfStream if there is none."""
        if not self._buffer:
            self._buffer = self._receive(CHUNK)
            if not self._buffer:
                raise EndOfStream
        return self._buffer[0]

    def until(self, end: int, most: int) -> bytes | None:
        """Return the bytes before the next `end` and take that too; None if more than `most` come before it.

        Raise EndOfStream if the source ends first.
        """
        buffer = self._buffer
        while (at := buffer.find(end, 0, most + 1)) < 0:
            if len(buffer) > most:
                return None
            data = self._receive(CHUNK)
            if not data:
                raise EndOfStream
            buffer += data
        self._buffer = buffer[at + 1 :]
        return buffer[:at]

    def rest(self) -> bytes:
        """Return what was received beyond the last message, and keep nothing."""
        rest, self._buffer = self._buffer, b""
        return rest
