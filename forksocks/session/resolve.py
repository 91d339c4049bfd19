"""RESOLVE and RESOLVE_PTR: Tor's two commands that answer what a name or an address is, and open nothing.

The server answers them itself, under the rules for a connection: what may not be dialled is not told.
"""

from __future__ import annotations

from forksocks.host.causes import Cause
from forksocks.session.client import Client
from forksocks.session.judgement import allowed, permit, refused
from forksocks.session.lookup import name_of
from forksocks.session.service import Asked
from forksocks.wire import socks5
from forksocks.wire.messages import Reply


def resolve_name(client: Client, asked: Asked, early: bytes) -> Cause:
    """RESOLVE (F0): the first address that may be reached, IPv4 first: old clients read nothing else."""
    client.reached = min(allowed(client, asked), key=lambda address: address.version)
    return _tell(client, client.answer(Reply.SUCCEEDED, client.reached.packed, 0))


def resolve_address(client: Client, asked: Asked, early: bytes) -> Cause:
    """RESOLVE_PTR (F1): the name of an address, as its owner's DNS has it."""
    if isinstance(asked.host, str):
        raise client.refusal(Reply.ADDRESS_TYPE_NOT_SUPPORTED, Cause.UNSUPPORTED, "a name has no name")
    objection = permit(client, asked)(asked.host)
    if objection is not None:
        raise refused(client, Reply.NOT_ALLOWED, Cause.DENIED, objection)
    return _tell(client, socks5.name_reply(name_of(client, asked.host)))


def _tell(client: Client, answer: bytes) -> Cause:
    client.reply = Reply.SUCCEEDED
    client.part(answer)
    return Cause.ANSWERED
