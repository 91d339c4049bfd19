"""A client's connection whose bytes go in GSSAPI messages (RFC 1961 section 5), as if it were a plain one.

Whoever has it receives and sends data; only this class sees messages. It takes from the kernel what the
message at hand still needs and not a byte more, so poll(2) tells the truth about what is left. A message that
the kernel did not take whole counts as not sent: send again with the same data finishes it, as Flow does.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Any

from forksocks.host.gss import Failed, Seal
from forksocks.wire import gssapi
from forksocks.wire.gssapi import Kind
from forksocks.wire.messages import ProtocolError


class SealedSocket(socket.socket):
    """A connected socket that wraps what is sent and unwraps what is received. One thread at a time."""

    def __init__(self, sock: socket.socket, seal: Seal) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._seal = seal
        self._room = seal.room(gssapi.LONGEST_TOKEN)
        self._head = b""
        self._token = b""
        self._left = 0  # bytes of the token that are still to come
        self._unsent = b""
        self._meant = 0  # bytes of data that are in `_unsent`

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive the data of one message, which may be more than `size`; b"" at the end.

        Raises BlockingIOError when none is complete, and OSError for one that is not what it should be.
        """
        while len(self._head) < gssapi.HEAD:
            if not self._take_head(flags):
                return b""
        while self._left:
            piece = super().recv(self._left, flags)
            if not piece:
                raise ConnectionResetError(errno.ECONNRESET, "the end came inside a message")
            self._token += piece
            self._left -= len(piece)
        token, self._head, self._token = self._token, b"", b""
        try:
            data = self._seal.unwrap(token)
        except Failed as error:
            raise _wrong(str(error)) from error
        if not data:
            raise BlockingIOError(errno.EAGAIN, "an empty message")
        return data

    def _take_head(self, flags: int) -> bool:
        piece = super().recv(gssapi.HEAD - len(self._head), flags)
        if not piece and self._head:
            raise ConnectionResetError(errno.ECONNRESET, "the end came inside a message")
        self._head += piece
        if len(self._head) == gssapi.HEAD:
            try:
                self._left = gssapi.read_head(self._head, Kind.DATA)
            except ProtocolError as error:
                raise _wrong(str(error)) from error
        return bool(piece)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send as much of `data` as one message takes, and return how much that was.

        Raises BlockingIOError when the message has not gone out whole; then send the same data again.
        """
        if not self._unsent:
            piece = bytes(memoryview(data)[: self._room])
            self._meant = len(piece)
            try:
                self._unsent = gssapi.message(Kind.DATA, self._seal.wrap(piece))
            except Failed as error:
                raise _wrong(str(error)) from error
        while self._unsent:
            sent = super().send(self._unsent, flags)
            self._unsent = self._unsent[sent:]
        return self._meant

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of it; as long as the socket waits, so does this."""
        view = memoryview(data)
        while view:
            with contextlib.suppress(BlockingIOError):
                view = view[self.send(view, flags) :]


def _wrong(text: str) -> OSError:
    return OSError(errno.EBADMSG, text)
