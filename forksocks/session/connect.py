"""CONNECT as a command (RFC 1928 section 4)."""

from __future__ import annotations

from time import monotonic

from forksocks.config.model import endpoint
from forksocks.host.causes import Cause
from forksocks.host.deadline import Deadline
from forksocks.session.client import Client
from forksocks.session.judgement import judge_name, limits_of_silence, permit, refused, settle, sources
from forksocks.session.lookup import resolve
from forksocks.session.service import Asked
from forksocks.traffic.dial import Connection, DialFailed, Dialler
from forksocks.traffic.relay import Relay
from forksocks.wire.messages import Reply


def connect(client: Client, asked: Asked, early: bytes) -> Cause:
    """CONNECT (RFC 1928 section 4): dial, answer, relay."""
    if not asked.port:
        raise client.refusal(Reply.NOT_ALLOWED, Cause.DENIED, "port 0")
    connection = _dial(client, asked)
    if asked.port in client.service.ports:
        client.service.dialled.note(endpoint(connection.bound_host, connection.bound_port))
    client.succeed(connection.bound_host, connection.bound_port)
    if client.verbose:
        client.step("connected", bound=endpoint(connection.bound_host, connection.bound_port))
    relay = Relay(
        client.socket, connection.socket, early, limits_of_silence(client), client.pipes, client.trace,
        client.slot,
    )  # fmt: skip
    client.carry(relay)
    return relay.run()


def _dial(client: Client, asked: Asked) -> Connection:
    """Look the host up, once, and dial what was found."""
    service = client.service
    judge_name(client, asked)
    if isinstance(asked.host, str):
        addresses = resolve(client, asked.host)
        client.slot.connecting()
    else:
        addresses = [asked.host]
    dialler = Dialler(permit(client, asked), sources(client), client.trace)
    before = monotonic()
    try:
        connection = dialler.dial(addresses, asked.port, Deadline(service.listen.timeouts.connect))
    except DialFailed as failed:
        raise refused(client, failed.reply, failed.cause, str(failed)) from failed
    finally:
        client.took["connect"] = took = monotonic() - before
        client.slot.dialled(took)
    if len(addresses) > 1:
        settle(client, asked, connection.address)
    client.target = connection.socket
    client.reached = connection.address
    client.slot.reached(connection.address)
    return connection
