"""One client, from its first byte to the close; top to bottom as RFC 1928 tells it.

Whatever goes wrong on the way is an `Ended`: a cause for the log and, where the client is owed one, an
answer. Nothing that a client can send or that a target can do leaves this module as another exception; a bug
ends its session with a traceback in the log, and that session alone.
"""

from __future__ import annotations

import contextlib
import socket

from forksocks.config.model import Address
from forksocks.host import kernel
from forksocks.host.causes import Cause
from forksocks.host.scoreboard.slots import Slot
from forksocks.session.client import Client
from forksocks.session.commands import CARRIERS, Carry
from forksocks.session.handshake import shake_hands
from forksocks.session.refusal import remember
from forksocks.session.service import Asked, Ended, Service
from forksocks.traffic.flow import SHORTAGES
from forksocks.wire.messages import ProtocolError, Reply
from forksocks.wire.reader import EndOfStream, Reader


class Session:
    """One accepted connection; `run` serves it and closes it.

    peer: the client's address, None on a unix socket; `text` the same as it is logged. slot: its place on the
    scoreboard, where it has begun.
    """

    def __init__(
        self, service: Service, identity: str, sock: socket.socket, peer: Address | None, text: str,
        slot: Slot,
    ) -> None:  # fmt: skip
        self.client = Client(service, identity, sock, peer, text, slot)

    def run(self) -> None:
        """Serve the client until either side is done, then close and log."""
        client = self.client
        cause, hint = Cause.CRASHED, None
        try:
            cause = self._serve(client)
        except Ended as ended:
            cause, hint = ended.cause, ended.hint
            client.part(ended.answer)
        except EndOfStream:
            cause = Cause.ABANDONED
        except MemoryError:
            cause = Cause.NO_RESOURCES
        except OSError as error:
            cause = Cause.NO_RESOURCES if error.errno in SHORTAGES else Cause.ABANDONED
        except Exception as error:  # noqa: BLE001 - a bug must not cost more than its session
            client.log.crash(error, id=client.identity)
        finally:
            self._close(self.client.aborted or cause, hint)

    def _close(self, cause: Cause, hint: str | None) -> None:
        client = self.client
        if client.target is not None:
            client.target.close()
        client.socket.close()
        client.come_in()
        if client.holding is not None:
            client.holding.give()
        client.slot.end(cause)  # first: a death between the two costs a line of the log, not a session
        client.end(cause, hint)
        remember(client, cause, hint)

    def abort(self, cause: Cause) -> None:
        """End the session from another thread; both peers get a reset.

        The carrier hears it before its client's socket can wake it: it would take that for an end and pass it
        on.
        """
        client = self.client
        client.aborted = cause
        with contextlib.suppress(OSError):
            client.socket.setsockopt(*kernel.RESET)
        if client.carrier is not None:
            client.carrier.abort()
        with contextlib.suppress(OSError):
            client.socket.shutdown(socket.SHUT_RD)  # wakes who waits for bytes, and sends no FIN

    def end_if_a_peer_has_vanished(self) -> None:
        """Abort a tunnel one of whose ends does not answer any more; main thread."""
        client = self.client
        if client.target is None:
            return
        for sock, cause in ((client.socket, Cause.CLIENT_RESET), (client.target, Cause.TARGET_RESET)):
            if kernel.has_vanished(sock):
                self.abort(cause)

    def _serve(self, client: Client) -> Cause:
        reader = Reader(client.receive)
        client.waiting = client.service.handshakes.enter(client.peer, self)
        try:
            asked = shake_hands(client, reader)
        except ProtocolError as error:
            client.reply = error.reply
            cause = Cause.PROTOCOL_ERROR if error.reply is None else Cause.UNSUPPORTED
            raise Ended(cause, str(error), error.answer) from error
        carry = _permitted(client, asked)
        if not client.come_in():  # nothing may be granted to whom another thread is about to cut
            raise Ended(Cause.CROWDED)
        return carry(client, asked, reader.rest())


def _permitted(client: Client, asked: Asked) -> Carry:
    """Refuse whom the listener does not admit and what is not served; nothing has been looked up yet."""
    if not client.admitted:
        hint = f"--allow-from {client.service.listed},{client.peer}, or --users FILE"
        raise client.refusal(Reply.NOT_ALLOWED, Cause.DENIED, hint)
    if client.service.dialled.knows(client.text):
        raise client.refusal(
            Reply.GENERAL_FAILURE, Cause.SELF_CONNECT, "comes out of a tunnel of this server"
        )
    row = CARRIERS.get(asked.command)
    if row is None:
        raise client.refusal(Reply.COMMAND_NOT_SUPPORTED, Cause.UNSUPPORTED)
    if row[0] not in client.service.listen.commands:
        raise client.refusal(Reply.COMMAND_NOT_SUPPORTED, Cause.UNSUPPORTED, f"commands: {row[0].value}")
    return row[1]
