"""A client's sockets whose bytes go in GSSAPI messages (RFC 1961 section 5), as if they were plain ones.

Whoever has one receives and sends data; only these classes see messages. A connection takes from the kernel
what the message at hand still needs and not a byte more, so poll(2) tells the truth about what is left. A
message that the kernel did not take whole counts as not sent: send again with the same data finishes it, as
Flow does.
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

LARGEST = 65_536  # bytes of a datagram that is received
LONGEST = 65_507  # bytes of one that is sent (RFC 768 over IPv4)
NOBODY = ("", 0)  # no socket's address: where a datagram comes from that the client has not wrapped


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

    def protect(self, sock: socket.socket) -> SealedDatagrams:
        """Take over a UDP socket, whose datagrams are messages of this connection's context from here on."""
        return SealedDatagrams(sock, self._seal)


class SealedDatagrams(socket.socket):
    """A UDP socket that wraps each datagram that is sent, and unwraps what is received. One thread at a time.

    They may be lost and come in any order. One that was there before is from nobody, as RFC 1961 section 3.2
    has clients ask for; a client that asks for sequence as well, which is for TCP, loses what is out of it.
    """

    def __init__(self, sock: socket.socket, seal: Seal) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._seal = seal
        self._room = seal.room(LONGEST - gssapi.HEAD)

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """Receive the data of one datagram, which must fit into `buffer`: its size, and who has sent it.

        It is from NOBODY if it is not what it should be, so that it decides nothing. Raises OSError.
        """
        message, source = super().recvfrom(LARGEST, flags)
        try:
            data = self._seal.unwrap(gssapi.whole_token(message, Kind.DATA))
        except (Failed, ProtocolError):
            return 0, NOBODY
        buffer[: len(data)] = data
        return len(data), source

    def send(self, data: Any, flags: int = 0) -> int:
        """Send one datagram to where this is connected; OSError."""
        super().send(self._wrap(data), flags)
        return len(data)

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        """Send one datagram as sendto(2) does; OSError."""
        super().sendto(self._wrap(data), *flags_and_address)
        return len(data)

    def _wrap(self, data: Any) -> bytes:
        if len(data) > self._room:
            raise OSError(errno.EMSGSIZE, "no room for it in a message")
        try:
            return gssapi.message(Kind.DATA, self._seal.wrap(bytes(data)))
        except Failed as error:
            raise _wrong(str(error)) from error


def _wrong(text: str) -> OSError:
    return OSError(errno.EBADMSG, text)
