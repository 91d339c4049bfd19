"""UDP ASSOCIATE as a command: whose datagrams are taken, and where (RFC 1928 sections 4 and 7)."""

from __future__ import annotations

import errno
import socket

from forksocks.config.model import Address, endpoint
from forksocks.host import kernel
from forksocks.host.causes import Cause
from forksocks.session.client import Client
from forksocks.session.judgement import Datagrams, permit_datagrams
from forksocks.session.service import Asked
from forksocks.traffic.associate import Association
from forksocks.traffic.destinations import Terms
from forksocks.traffic.ports import bind_within, written
from forksocks.traffic.sealed import SealedSocket
from forksocks.wire.messages import Reply


def associate(client: Client, asked: Asked, early: bytes) -> Cause:
    """UDP ASSOCIATE: open a port for the client, tell it, and relay until the connection ends.

    Datagrams count as the client's by the address of this connection, so a request that names another would
    have answers sent to a stranger.
    """
    if client.peer is None:
        raise client.refusal(Reply.COMMAND_NOT_SUPPORTED, Cause.UNSUPPORTED, "no UDP beside a unix socket")
    if asked.host != client.peer and (isinstance(asked.host, str) or not asked.host.is_unspecified):
        raise client.refusal(Reply.NOT_ALLOWED, Cause.DENIED, "datagrams from another address")
    permit = permit_datagrams(client, asked)
    front = _open(client)
    if isinstance(client.socket, SealedSocket):
        front = client.socket.protect(front)
    try:
        bound = front.getsockname()
        told = client.service.listen.udp.advertise or bound[0].partition("%")[0]
        association = Association(
            client.socket,
            front,
            written(client.peer),
            asked.port,
            _terms(client, permit),
            client.slot,
        )
        client.carry(association)
        client.slot.relaying()
        client.succeed(str(told), bound[1])
        client.step("associated", bound=endpoint(bound[0], bound[1]))
        try:
            return association.run()
        finally:
            client.counted = association.counts()
    finally:
        front.close()


def _open(client: Client) -> socket.socket:
    """The socket that the client sends to: where its connection came to, unless the listener says else."""
    config = client.service.listen.udp
    host, scope = (str(config.bind), 0) if config.bind else client.local
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        front = socket.socket(family, socket.SOCK_DGRAM | kernel.SOCK_NONBLOCK)
        try:
            front.setblocking(False)
            bind_within(front, host, config.ports, scope)
        except OSError:
            front.close()
            raise
    except OSError as error:
        hint = f"udp.ports: {error.strerror}" if error.errno == errno.EADDRINUSE else str(error)
        raise client.refusal(Reply.GENERAL_FAILURE, Cause.NO_RESOURCES, hint) from error
    return front


def _terms(client: Client, permit: Datagrams) -> Terms:
    service = client.service

    def refused(host: Address | str, port: int, objection: str) -> None:
        client.log.notice(
            "datagram-denied", id=client.identity, client=client.text, user=client.user,
            to=endpoint(host, port), hint=objection,
        )  # fmt: skip

    seconds = service.listen.timeouts.resolve
    return Terms(
        config=service.listen.udp,
        idle=permit.silence,
        permit=permit,
        ask=lambda name, tell: service.lookups.start(name, client.peer, seconds, tell),
        refused=refused,
        sources=permit.sources,
    )
