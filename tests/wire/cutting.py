"""Feeds a parser its message in every way that TCP may."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from forksocks.wire.reader import EndOfStream, Reader

Parsed = TypeVar("Parsed")

TAIL = b"GET / HTTP/1.1\r\n\r\n"


class Pieces:
    """A source that gives one piece a call and then the end; `asked` counts the calls."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self.asked = 0

    def __call__(self, size: int) -> bytes:
        self.asked += 1
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        return piece[:size]


def parses(parse: Callable[[Reader], Parsed], message: bytes, expected: Parsed) -> None:
    """`message` is read as `expected`: whole, cut at every byte, byte by byte, and with a tail left unread.

    A message that ends early is EndOfStream at every offset, and nothing is asked for beyond its last byte.
    """
    for cut in range(len(message)):
        for tail in (b"", TAIL):
            source = Pieces(message[:cut], message[cut:] + tail)
            reader = Reader(source)
            assert parse(reader) == expected, f"cut at {cut}"
            assert reader.rest() == tail
            assert source.asked <= 2
        with pytest.raises(EndOfStream):
            parse(Reader(Pieces(message[:cut])))
    source = Pieces(*(bytes((byte,)) for byte in message + TAIL))
    reader = Reader(source)
    assert parse(reader) == expected
    assert source.asked == len(message), "waits for a byte that the message does not have"
