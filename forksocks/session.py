"""One client, from its first byte to the close; top to bottom as RFC 1928 tells it.

Whatever goes wrong on the way is an `Ended`: a cause for the log and, where the client is owed one, an
answer. Nothing that a client can send or that a target can do leaves this module as another exception; a bug
ends its session with a traceback in the log, and that session alone.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from forksocks.access.handshakes import GRACE, Handshakes
from forksocks.access.networks import normalised
from forksocks.config.model import Address, AuthMethod, Level, ListenConfig
from forksocks.host.causes import Cause
from forksocks.host.deadline import Deadline
from forksocks.host.log import Log
from forksocks.host.log.lines import Field
from forksocks.traffic.dial import Connection, DialFailed, Dialler
from forksocks.traffic.pipes import Pipes
from forksocks.traffic.relay import Relay
from forksocks.traffic.resolve import LookupFailed
from forksocks.wire import socks5
from forksocks.wire.messages import Command, Method, ProtocolError, Reply, Request
from forksocks.wire.names import BadName, read_name
from forksocks.wire.reader import EndOfStream, Reader

# A blocking receive returns at least this often (SO_RCVTIMEO on the listener), so that deadlines are looked
# at.
TICK = 1.0
# How much a refused client may still send, and for how long, before the close: closing with unread bytes
# resets the connection, and the reset may overtake the reply (RFC 2525 section 2.17).
LAST_BYTES = 64 * 1024
LAST_SECONDS = 1.0

METHODS = {AuthMethod.NONE: Method.NONE, AuthMethod.PASSWORD: Method.PASSWORD}

COMMANDS: Mapping[int, str] = {command: command.name.lower() for command in Command}

Resolve = Callable[[str, Address | None, Deadline], list[Address]]
Verify = Callable[[bytes, bytes, Address | None, Deadline], bool]
_LINGER_ZERO = struct.pack("ii", 1, 0)  # struct linger of socket(7): close(2) sends a reset


class Ended(Exception):
    """The session ends here: why, with what hint for the log, and with which last bytes for the client."""

    def __init__(self, cause: Cause, hint: str | None = None, answer: bytes = b"") -> None:
        super().__init__(cause.value)
        self.cause = cause
        self.hint = hint
        self.answer = answer


class Asked(NamedTuple):
    """A request whose host is an address or a name that may be looked up."""

    command: int
    host: Address | str
    port: int


@dataclass(frozen=True, slots=True)
class Service:
    """What the sessions of one listener share.

    admits: by method, whether a client from an address is served. refusal: None for an address that may be
    dialled, else what would open it. resolve: a name's addresses; raises LookupFailed or TimeoutError.
    verify: whether a name and a password belong together; raises TimeoutError. sources: own addresses to dial
    from. pipes: None where everything is copied.
    """

    listen: ListenConfig
    admits: Mapping[Method, Callable[[Address | None], bool]]
    refusal: Callable[[Address], str | None]
    resolve: Resolve
    verify: Verify
    sources: Mapping[int, Address]
    handshakes: Handshakes
    pipes: Pipes | None
    log: Log


class Session:
    """One accepted connection; `run` serves it and closes it.

    peer: the client's address, None on a unix socket; `client` the same as it is logged.
    """

    def __init__(
        self, service: Service, identity: str, sock: socket.socket, peer: Address | None, client: str
    ) -> None:
        self._service = service
        self._log = service.log
        self._identity = identity
        self._client_text = client
        self._client = sock
        self._target: socket.socket | None = None
        self._peer = peer
        self._relay: Relay | None = None
        self._aborted: Cause | None = None
        self._started = monotonic()
        self._deadline = Deadline(service.listen.timeouts.handshake)
        self._network = 0
        self._user: bytes | None = None
        self._asked: Request | Asked | None = None
        self._reached: Address | None = None
        self._reply: Reply | None = None
        self._took: dict[str, float] = {}

    def run(self) -> None:
        """Serve the client until either side is done, then close and log."""
        hint = None
        try:
            cause = self._serve()
        except Ended as ended:
            cause, hint = ended.cause, ended.hint
            self._refuse(ended.answer)
        except (EndOfStream, OSError):
            cause = Cause.ABANDONED
        except Exception as error:  # noqa: BLE001 - a bug must not cost more than its session
            cause = Cause.CRASHED
            self._log.crash(error, id=self._identity)
        self._close()
        self._end(self._aborted or cause, hint)

    def abort(self, cause: Cause) -> None:
        """End the session from another thread; both peers get a reset."""
        self._aborted = cause
        for sock in (self._client, self._target):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
                    sock.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> Cause:
        reader = Reader(self._receive)
        self._network = self._service.handshakes.enter(self._peer)
        try:
            method = self._negotiate(reader)
            if method is Method.PASSWORD:
                self._authenticate(reader)
            asked = self._read_request(reader)
        except ProtocolError as error:
            raise Ended(Cause.PROTOCOL_ERROR, str(error), error.answer) from error
        finally:
            self._service.handshakes.leave(self._network)
        self._permit(method, asked)
        connection = self._connect(asked)
        self._succeed(connection)
        return self._tunnel(connection, reader.rest())

    def _negotiate(self, reader: Reader) -> Method:
        """Read the greeting and pick the listener's favourite of what it offers (RFC 1928 section 3)."""
        offered = socks5.read_methods(reader)
        for preferred in self._service.listen.auth:
            method = METHODS[preferred]
            if method in offered:
                self._step("method", offered=offered.hex(), picked=method.name.lower())
                self._client.sendall(socks5.method_selection(method))
                return method
        raise Ended(
            Cause.NO_METHOD,
            f"offered {offered.hex(',')}",
            socks5.method_selection(Method.NO_ACCEPTABLE),
        )

    def _authenticate(self, reader: Reader) -> None:
        """Read a name and a password and have them verified (RFC 1929)."""
        name, password = socks5.read_credentials(reader)
        self._user = name
        before = monotonic()
        try:
            accepted = self._service.verify(name, password, self._peer, self._deadline)
        except TimeoutError as error:
            raise Ended(Cause.HANDSHAKE_TIMEOUT, "password queue", socks5.PASSWORD_REFUSED) from error
        self._took["auth"] = monotonic() - before
        if not accepted:
            raise Ended(Cause.AUTH_FAILED, None, socks5.PASSWORD_REFUSED)
        self._step("authenticated")
        self._client.sendall(socks5.PASSWORD_ACCEPTED)

    def _read_request(self, reader: Reader) -> Asked:
        """Read the request; its name is judged before anyone looks it up (RFC 1928 section 4)."""
        command, raw, port = self._asked = socks5.read_request(reader)
        try:
            host = read_name(raw) if isinstance(raw, bytes) else raw
        except BadName as error:
            raise self._refusal(Reply.HOST_UNREACHABLE, Cause.BAD_NAME, str(error)) from error
        self._asked = asked = Asked(command, host if isinstance(host, str) else normalised(host), port)
        self._step("request")
        return asked

    def _permit(self, method: Method, asked: Asked) -> None:
        """Refuse whom the listener does not admit and what is not served; nothing has been looked up yet."""
        if not self._service.admits[method](self._peer):
            raise self._refusal(
                Reply.NOT_ALLOWED, Cause.DENIED, f"--allow-from {self._peer}, or --users FILE"
            )
        if asked.command != Command.CONNECT:
            raise self._refusal(Reply.COMMAND_NOT_SUPPORTED, Cause.UNSUPPORTED)
        if not asked.port:
            raise self._refusal(Reply.NOT_ALLOWED, Cause.DENIED, "port 0")

    def _connect(self, asked: Asked) -> Connection:
        """Look the host up, once, and dial what was found."""
        timeouts = self._service.listen.timeouts
        addresses = self._resolve(asked.host) if isinstance(asked.host, str) else [asked.host]
        trace = self._trace if self._log.level >= Level.TRACE else None
        dialler = Dialler(self._service.refusal, self._service.sources, trace)
        before = monotonic()
        try:
            connection = dialler.dial(addresses, asked.port, Deadline(timeouts.connect))
        except DialFailed as failed:
            raise self._refusal(failed.reply, failed.cause, str(failed)) from failed
        finally:
            self._took["connect"] = monotonic() - before
        self._target = connection.socket
        self._reached = connection.address
        return connection

    def _resolve(self, name: str) -> list[Address]:
        before = monotonic()
        try:
            found = self._service.resolve(name, self._peer, Deadline(self._service.listen.timeouts.resolve))
        except LookupFailed as error:
            raise self._refusal(Reply.HOST_UNREACHABLE, Cause.DNS_FAILED, str(error)) from error
        except TimeoutError as error:
            raise self._refusal(Reply.HOST_UNREACHABLE, Cause.DNS_FAILED, "no answer in time") from error
        finally:
            self._took["resolve"] = monotonic() - before
        self._step("resolved", addresses=",".join(map(str, found)))
        return [normalised(address) for address in found]

    def _succeed(self, connection: Connection) -> None:
        family = socket.AF_INET if connection.address.version == 4 else socket.AF_INET6
        bound = socket.inet_pton(family, connection.bound_host)
        self._reply = Reply.SUCCEEDED
        self._client.sendall(socks5.reply(Reply.SUCCEEDED, bound, connection.bound_port))
        self._step("connected", bound=_endpoint(connection.bound_host, connection.bound_port))

    def _tunnel(self, connection: Connection, early: bytes) -> Cause:
        service = self._service
        trace = self._trace if self._log.level >= Level.TRACE else None
        self._relay = Relay(
            self._client, connection.socket, early, service.listen.timeouts, service.pipes, trace
        )
        return self._relay.run()

    def _receive(self, size: int) -> bytes:
        """Receive some of the handshake, within its one deadline; a crowd shortens it to GRACE."""
        while True:
            if self._deadline.passed():
                raise Ended(Cause.HANDSHAKE_TIMEOUT)
            if monotonic() - self._started > GRACE and self._service.handshakes.crowded(self._network):
                raise Ended(Cause.CROWDED)
            left = self._deadline.remaining()
            if left < TICK and not _readable(self._client, left):
                continue
            try:
                return self._client.recv(size)
            except BlockingIOError:  # a tick has passed
                continue

    def _refusal(self, reply: Reply, cause: Cause, hint: str | None = None) -> Ended:
        self._reply = reply
        return Ended(cause, hint, socks5.reply(reply))

    def _refuse(self, answer: bytes) -> None:
        """Send a last answer so that it arrives: the client reads it before it meets the close."""
        if not answer:
            return
        deadline = Deadline(LAST_SECONDS)
        left = LAST_BYTES
        with contextlib.suppress(OSError):
            self._client.sendall(answer)
            self._client.shutdown(socket.SHUT_WR)
            while left > 0 and _readable(self._client, deadline.remaining()):
                data = self._client.recv(left)
                if not data:
                    break
                left -= len(data)

    def _close(self) -> None:
        if self._target is not None:
            self._target.close()
        self._client.close()

    def _step(self, event: str, **facts: str) -> None:
        if self._log.level >= Level.DEBUG:
            self._log.debug(event, **self._facts(), **facts)

    def _trace(self, text: str) -> None:
        self._log.trace("system", id=self._identity, what=text)

    def _end(self, cause: Cause, hint: str | None) -> None:
        """Log the session's one line."""
        if self._log.level < cause.level:
            return
        took, relay = self._took, self._relay
        self._log.log(
            cause.level, "end", **self._facts(), cause=cause.value, hint=hint,
            up=relay.up.moved if relay else 0, down=relay.down.moved if relay else 0,
            auth=took.get("auth"), resolve=took.get("resolve"), connect=took.get("connect"),
            total=monotonic() - self._started,
        )  # fmt: skip

    def _facts(self) -> dict[str, Field]:
        """What is known by now, as it is logged; made only when it is."""
        facts: dict[str, Field] = {
            "id": self._identity, "listen": self._service.listen.name, "client": self._client_text,
            "user": self._user,
        }  # fmt: skip
        if self._asked is not None:
            command, host, port = self._asked
            facts["cmd"] = COMMANDS.get(command, f"{command:02x}")
            facts["to"] = host + b":%d" % port if isinstance(host, bytes) else _endpoint(host, port)
            facts["addr"] = None if self._reached is None else _endpoint(self._reached, port)
        facts["reply"] = None if self._reply is None else int(self._reply)
        return facts


def _endpoint(host: Address | str, port: int) -> str:
    text = str(host)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def _readable(sock: socket.socket, seconds: float) -> bool:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(seconds * 1000))
