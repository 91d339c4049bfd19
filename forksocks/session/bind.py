"""BIND as a command: who is expected, where, and the two replies (RFC 1928 section 4)."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from forksocks.access.networks import normalised
from forksocks.config.model import Address, endpoint
from forksocks.host.causes import Cause
from forksocks.host.deadline import Deadline
from forksocks.session.client import Client
from forksocks.session.judgement import allowed, limits_of_silence, permit, settle, sources
from forksocks.session.service import Asked
from forksocks.traffic import bind as waiting
from forksocks.traffic.ports import written
from forksocks.traffic.relay import Relay
from forksocks.wire.messages import Reply

# To a wait that was in vain: what the client is told by what happened. A client that left hears nothing.
REPLIES = {
    Cause.CONNECT_TIMEOUT: Reply.TTL_EXPIRED,
    Cause.DENIED: Reply.NOT_ALLOWED,
    Cause.CLIENT_CLOSED: Reply.GENERAL_FAILURE,
}


def bind(client: Client, asked: Asked, early: bytes) -> Cause:
    """BIND: listen, say where, admit the peer, say who came, relay."""
    service = client.service
    who = client.user or client.peer
    if not service.binds.enter(who):
        raise client.refusal(Reply.NOT_ALLOWED, Cause.NO_RESOURCES, f"{service.binds.most} waits at once")
    try:
        connection = _meet(client, asked, _expected(client, asked))
    finally:
        service.binds.leave(who)
    relay = Relay(
        client.socket, connection, early, limits_of_silence(client), client.pipes, client.trace, client.slot
    )
    client.carry(relay)
    return relay.run()


def _expected(client: Client, asked: Asked) -> list[Address]:
    """The addresses that the peer may come from; none when the client left it open and that is allowed."""
    service = client.service
    if not isinstance(asked.host, str) and asked.host.is_unspecified:
        if not service.listen.bind_command.any_peer:
            raise client.refusal(Reply.NOT_ALLOWED, Cause.DENIED, "bind_command.any_peer")
        return []
    first, *others = allowed(client, asked)
    settle(client, asked, first)
    return [first, *(address for address in others if address.version == first.version)]


def _meet(client: Client, asked: Asked, expected: list[Address]) -> socket.socket:
    client.slot.connecting()
    judge = permit(client, asked)
    listener = _listen(client, expected)
    try:
        bound = listener.getsockname()
        told = client.service.listen.bind_command.advertise or bound[0]
        client.succeed(str(told), bound[1])
        client.step("listening", bound=endpoint(bound[0], bound[1]))
        permitted = waiting.Waiting(
            client.socket, listener, {written(address) for address in expected},
            lambda host: judge(normalised(ip_address(host))) is None,
        )  # fmt: skip
        connection, host, port = permitted.peer(Deadline(client.service.listen.timeouts.bind))
    except waiting.NobodyCame as error:
        raise client.refusal(REPLIES[error.cause], error.cause, str(error)) from error
    finally:
        listener.close()
    client.target = connection
    client.reached = normalised(ip_address(host))
    client.slot.reached(client.reached)
    client.succeed(host, port)
    client.step("met", peer=endpoint(host, port))
    return connection


def _listen(client: Client, expected: list[Address]) -> socket.socket:
    """Listen on the address that the peer sees when we dial it; for anyone, on the one our client reached."""
    service = client.service
    scope, interface = 0, None
    try:
        if not expected:
            host, scope = client.local if client.peer else ("127.0.0.1", 0)
        else:
            source = sources(client).get(expected[0].version)
            host = waiting.address_seen_from(expected[0], source)
            interface = source.interface if source else None
        return waiting.listen(host, service.listen.bind_command.ports, scope, interface)
    except OSError as error:
        raise client.refusal(Reply.GENERAL_FAILURE, Cause.NO_RESOURCES, str(error)) from error
