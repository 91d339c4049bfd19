"""How much is logged of sessions for a while: `forksocksctl log level debug client=192.0.2.7 for 10m`.

The admin process writes the order into memory of the generation, each worker's main thread reads it, and the
sessions that begin from then on are logged so. It outlives both kinds of processes, and is nobody's once its
time is over, whoever hangs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import ip_network
from time import monotonic_ns

from forksocks.config.model import Address, Level, Network
from forksocks.host.deadline import NS
from forksocks.host.log.log import Log
from forksocks.host.scoreboard.page import Page

ROOM = 256  # bytes of an order


@dataclass(frozen=True, slots=True)
class Order:
    """So much is to be logged of clients in a network, None for all, until a time (monotonic clock, ns)."""

    level: Level
    client: Network | None = None
    until: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether its time has passed."""
        return self.until is not None and monotonic_ns() >= self.until

    @property
    def left(self) -> float | None:
        """Seconds until then, None for no end."""
        return None if self.until is None else max(0, self.until - monotonic_ns()) / NS

    def is_about(self, peer: Address | None) -> bool:
        """Whether a client is meant; one of a unix socket only where all are."""
        return self.client is None or (peer is not None and peer in self.client)

    def written(self) -> bytes:
        """As `read` takes it."""
        client = None if self.client is None else str(self.client)
        return json.dumps([self.level, client, self.until]).encode()

    @classmethod
    def read(cls, text: bytes) -> Order | None:
        """The order; None for nothing, and for what makes no sense."""
        try:
            level, client, until = json.loads(text)
            network = None if client is None else ip_network(client)
            return cls(Level(level), network, None if until is None else int(until))
        except (ValueError, TypeError, RecursionError):
            return None


class Loudness:
    """A worker's eyes for the order, and the log of each of its sessions."""

    def __init__(self, page: Page, log: Log) -> None:
        self._page = page
        self._log = log
        self._text = b""
        self._order: tuple[Order, Log] | None = None

    def look(self) -> None:
        """Take the order as it is now; main thread, each tick."""
        text = self._page.read()
        if text != self._text:
            self._text = text
            order = Order.read(text)
            self._order = None if order is None else (order, self._log.at(order.level))

    def by_rule(self, log: Log, level: Level) -> Log:
        """The log of a session about which a rule says how much: an order is about more than rules know."""
        return log.at(level) if log is self._log else log

    def of(self, peer: Address | None) -> Log:
        """The log of a session that begins."""
        if self._order is None:
            return self._log
        order, log = self._order
        return log if order.is_about(peer) and not order.is_over else self._log
