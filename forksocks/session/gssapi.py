"""A login by GSSAPI (RFC 1961): tokens until both sides know each other, then a level of protection."""

from __future__ import annotations

import os
from time import monotonic

from forksocks.access.gssapi import CONVERSATION, Answer, Refused
from forksocks.host.causes import Cause
from forksocks.host.channels import Busy
from forksocks.host.gss import Failed, Seal
from forksocks.host.scoreboard.layout import LOGINS_GSSAPI
from forksocks.session.client import Client
from forksocks.session.service import Ended
from forksocks.traffic.sealed import SealedSocket
from forksocks.wire import gssapi
from forksocks.wire.gssapi import ABORT, Kind, Level
from forksocks.wire.messages import ProtocolError
from forksocks.wire.reader import Reader

# A client asks for its level in one byte; one that does not wrap it is said to speak NEC's dialect.
LEVEL_BYTES = 1


def authenticate(client: Client, reader: Reader) -> None:
    """Find out who the client is, agree on a level, and protect its connection from here on by that."""
    before = monotonic()
    answer = _establish(client, reader)
    client.took["auth"] = monotonic() - before
    client.user, client.groups = answer.user, answer.groups
    client.slot.login(answer.user, LOGINS_GSSAPI)
    try:
        seal = Seal(answer.exported)
        level = _agree(client, reader, seal)
    except Failed as error:
        raise Ended(Cause.AUTH_FAILED, str(error), ABORT) from error
    client.step("authenticated", protection=level.name.lower())
    if reader.rest():
        raise ProtocolError("bytes before the level of protection was known")
    if level is not Level.NONE:
        seal.encrypts = level is not Level.INTEGRITY
        seal.insists = level is Level.CONFIDENTIALITY
        client.socket = SealedSocket(client.socket, seal)
        client.sealed = True


def _establish(client: Client, reader: Reader) -> Answer:
    """Exchange tokens until the context stands (section 3)."""
    conversation = os.urandom(CONVERSATION)
    while True:
        token = gssapi.read_token(reader, Kind.AUTHENTICATION)
        try:
            answer = client.service.accept(conversation, token, client.peer, client.deadline)
        except Busy as error:
            raise Ended(Cause.CROWDED, str(error), ABORT) from error
        except TimeoutError as error:
            raise Ended(Cause.HANDSHAKE_TIMEOUT, "password queue", ABORT) from error
        except Refused as error:
            client.log.notice("auth-failed", **client.stranger(), reason="gssapi")
            raise Ended(Cause.AUTH_FAILED, str(error), ABORT) from error
        if answer.token:
            client.socket.sendall(gssapi.message(Kind.AUTHENTICATION, answer.token))
        if answer.exported:
            return answer


def _agree(client: Client, reader: Reader, seal: Seal) -> Level:
    """Agree on a level (section 4). The messages are signed, but where no protection is wanted anyway."""
    allowed = client.service.protection
    token = gssapi.read_token(reader, Kind.PROTECTION)
    bare = len(token) == LEVEL_BYTES and Level.NONE in allowed
    seal.insists = seal.encrypts = False
    asked = token if bare else seal.unwrap(token)
    level = gssapi.agreed(asked[0], allowed) if len(asked) == LEVEL_BYTES else None
    if level is None:
        raise Ended(Cause.NO_METHOD, f"protection {asked.hex()}: see protection in [gssapi]", ABORT)
    chosen = bytes((level,))
    client.socket.sendall(gssapi.message(Kind.PROTECTION, chosen if bare else seal.wrap(chosen)))
    return level
