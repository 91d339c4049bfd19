"""May this address be dialled?

Asked for the exact address that is handed to connect, once for each dial, so a public address has to cost
microseconds. Refused are the addresses of `networks` and the machine's own, public ones too: what listens
here trusts whoever comes from here.
"""

from __future__ import annotations

from forksocks.access.networks import NetworkSet, category, embedded, normalised, split
from forksocks.config.model import AccessConfig, Address
from forksocks.config.sets import ANY, ATTACHED, LOOPBACK, NEARBY, SELF
from forksocks.host.routes import Routes


class EgressGuard:
    """What `allow_to` leaves closed. Thread-safe; ValueError for a set's name that is not in SETS."""

    def __init__(self, config: AccessConfig, routes: Routes) -> None:
        self._open, self._networks = split(config.allow_to)
        self._own = NetworkSet(config.own)
        self._routes = routes

    def refusal(self, address: Address) -> str | None:
        """None if `address` may be dialled, else what to add to `allow_to` to open it: "@private", "@self".

        A network in `allow_to` opens whatever is inside it. A set opens what is in it, but only "@self"
        opens the machine's own addresses, and only "@loopback" its loopback.
        """
        address = normalised(address)
        if ANY in self._open or address in self._networks:
            return None
        name = category(address)
        # connect(2) takes 0.0.0.0 and :: to loopback (CVE-2020-26262).
        if name == LOOPBACK or address.is_unspecified:
            name = LOOPBACK
        elif self._is_own(address):
            name = SELF
        if name is None or name in self._open or self._is_open_as_attached(address, name):
            return None
        return name

    def objection(self, address: Address) -> str | None:
        """The same in words for the log: which flag would open it."""
        opener = self.refusal(address)
        return None if opener is None else f"--allow-to {opener}"

    def _is_own(self, address: Address) -> bool:
        # A gateway that unpacks a NAT64 address sends it to the IPv4 inside, which may be ours.
        inside = embedded(address)
        return any(each in self._own or self._routes.is_own(each) for each in (address, inside) if each)

    def _is_open_as_attached(self, address: Address, name: str) -> bool:
        return ATTACHED in self._open and name in NEARBY and self._routes.is_attached(address)
