"""How much is logged: what the configuration says, and the order that holds for a while beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from time import monotonic_ns

from forksocks.config import values
from forksocks.config.model import Level
from forksocks.config.values import Wrong
from forksocks.host.deadline import NS
from forksocks.host.log.loudness import Order
from forksocks.status.frame import BadRequest, Object, Server

FIELDS = ("level", "client", "for")
# The word that takes an order back.
CONFIGURED = "configured"
_LEVELS = {level.name.lower(): level for level in Level}
_one_at_a_time = threading.Lock()


def set_level(server: Server) -> Iterator[Object]:
    """Give the order, or take it back; yields what holds then."""
    word = server.filters.get("level", "")
    if word not in (*_LEVELS, CONFIGURED):
        raise BadRequest(f"level is one of {', '.join([*_LEVELS, CONFIGURED])}")
    if word == CONFIGURED and len(server.filters) > 1:
        raise BadRequest(f"{CONFIGURED} takes every order back: it has no client and no time")
    text = b"" if word == CONFIGURED else _order(server, _LEVELS[word]).written()
    with _one_at_a_time:
        server.sources.loud.write(text)
    yield now(server)


def now(server: Server) -> Object:
    """The level of the configuration and the order; its `for` is the seconds left, null for no end."""
    order = Order.read(server.sources.loud.read())
    told: Object = {"configured": server.sources.config.log.level.name.lower(), "order": None}
    if order is not None and not order.is_over:
        client = "" if order.client is None else str(order.client)
        told["order"] = {"level": order.level.name.lower(), "client": client, "for": order.left}
    return told


def _order(server: Server, level: Level) -> Order:
    client, lasts = server.filters.get("client"), server.filters.get("for")
    try:
        network = None if client is None else values.network(client, "an address or a network")
        seconds = None if lasts is None else values.duration(lasts)
    except Wrong as error:
        raise BadRequest(str(error)) from None
    return Order(level, network, None if seconds is None else monotonic_ns() + int(seconds * NS))
