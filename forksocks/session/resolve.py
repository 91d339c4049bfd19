"""RESOLVE and RESOLVE_PTR: Tor's two commands that answer what a name or an address is, and open nothing.

The server answers them itself, under the rules for a connection: what may not be dialled is not told.
"""

from __future__ import annotations

from forksocks.config.model import Address
from forksocks.host.causes import Cause
from forksocks.host.deadline import Deadline
from forksocks.session.client import Client
from forksocks.session.connect import resolve
from forksocks.session.judgement import judge_name, permit, refused
from forksocks.session.service import Asked
from forksocks.traffic.resolve import LookupFailed
from forksocks.wire import socks5
from forksocks.wire.messages import Reply


def resolve_name(client: Client, asked: Asked, early: bytes) -> Cause:
    """RESOLVE (F0): the first address that may be reached, IPv4 first: old clients read nothing else."""
    judge_name(client, asked)
    addresses = resolve(client, asked.host) if isinstance(asked.host, str) else [asked.host]
    judge = permit(client, asked)
    objections = {address: judge(address) for address in addresses}
    allowed = [address for address, objection in objections.items() if objection is None]
    if not allowed:
        raise refused(
            client, Reply.NOT_ALLOWED, Cause.DENIED, str(next(iter(objections.values()), "no address"))
        )
    client.reached = min(allowed, key=lambda address: address.version)
    return _tell(client, client.answer(Reply.SUCCEEDED, client.reached.packed, 0))


def resolve_address(client: Client, asked: Asked, early: bytes) -> Cause:
    """RESOLVE_PTR (F1): the name of an address, as its owner's DNS has it."""
    if isinstance(asked.host, str):
        raise client.refusal(Reply.ADDRESS_TYPE_NOT_SUPPORTED, Cause.UNSUPPORTED, "a name has no name")
    objection = permit(client, asked)(asked.host)
    if objection is not None:
        raise refused(client, Reply.NOT_ALLOWED, Cause.DENIED, objection)
    return _tell(client, socks5.name_reply(_name_of(client, asked.host)))


def _name_of(client: Client, address: Address) -> bytes:
    seconds = client.service.listen.timeouts.resolve
    try:
        return client.service.name_of(address, client.peer, Deadline(seconds))
    except (LookupFailed, TimeoutError) as error:
        raise client.refusal(
            Reply.HOST_UNREACHABLE, Cause.DNS_FAILED, str(error) or "no answer in time"
        ) from error


def _tell(client: Client, answer: bytes) -> Cause:
    client.reply = Reply.SUCCEEDED
    client.part(answer)
    return Cause.ANSWERED
