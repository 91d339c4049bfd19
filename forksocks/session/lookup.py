"""Names and addresses looked up for a client, and what it is told when there is no answer."""

from __future__ import annotations

from time import monotonic

from forksocks.access.networks import normalised
from forksocks.config.model import Address
from forksocks.host.causes import Cause
from forksocks.host.deadline import Deadline
from forksocks.session.client import Client
from forksocks.session.service import Ended
from forksocks.traffic.resolve import LookupFailed
from forksocks.wire.messages import Reply


def resolve(client: Client, name: str) -> list[Address]:
    """The addresses of a name, normalised; raises the refusal that the client gets if there is none."""
    service = client.service
    before = monotonic()
    try:
        found = service.resolve(name, client.peer, Deadline(service.listen.timeouts.resolve))
    except (LookupFailed, TimeoutError) as error:
        raise _unanswered(client, error) from error
    finally:
        client.took["resolve"] = took = monotonic() - before
        client.slot.resolved(took)
    client.step("resolved", addresses=",".join(map(str, found)))
    return [normalised(address) for address in found]


def name_of(client: Client, address: Address) -> bytes:
    """The name of an address; raises the refusal that the client gets if there is none."""
    service = client.service
    try:
        return service.name_of(address, client.peer, Deadline(service.listen.timeouts.resolve))
    except (LookupFailed, TimeoutError) as error:
        raise _unanswered(client, error) from error


def _unanswered(client: Client, error: Exception) -> Ended:
    return client.refusal(Reply.HOST_UNREACHABLE, Cause.DNS_FAILED, str(error) or "no answer in time")
