"""May this client come in at all? Decided by its address, before its first byte is read.

Without users and without a word from the operator, only those are served whom it is safe to serve: this
machine and the private networks that it is directly attached to. A container gets loopback alone: behind a
port mapper the whole internet arrives from a private address. The default gateway's address is never
trusted for the same reason. A listed network or set is the whole list.
"""

from __future__ import annotations

from dataclasses import replace

from forksocks.access.networks import category, embedded, normalised, split
from forksocks.config.model import AccessConfig, Address, Network
from forksocks.config.sets import ANY, ATTACHED, LOOPBACK, NEARBY, SELF
from forksocks.host.routes import Routes


class Clients:
    """Whom a listener admits by one method. Thread-safe; ValueError for a set's name that is not in SETS.

    `has_users` says that it wants proof from everyone, so that the address need not decide;
    `in_container` that this process runs in a container.
    """

    def __init__(self, config: AccessConfig, has_users: bool, in_container: bool, routes: Routes) -> None:
        self._within: Clients | None = None
        if not has_users and config.without_password is not None:
            self._within = Clients(replace(config, without_password=None), True, in_container, routes)
        self._selectors = _chosen(config, has_users, in_container)
        self._narrowed = config.allow_from is None and config.without_password is None and in_container
        self._sets, self._networks = split(self._selectors)
        self._routes = routes

    def admits(self, address: Address | None) -> bool:
        """Whether a client from `address` is served; None is a unix socket's client, whom its mode let in."""
        if self._within is not None and not self._within.admits(address):
            return False
        if address is None or ANY in self._sets:
            return True
        address = normalised(address)
        if address in self._networks:
            return True
        # Anyone with a public IPv6 network can give himself an ISATAP identifier that says 127.0.0.1.
        name = None if embedded(address) else category(address)
        if name in self._sets:
            return True
        if name == LOOPBACK:
            return False
        if ATTACHED in self._sets and name in NEARBY and self._is_near(address):
            return True
        return SELF in self._sets and self._routes.is_own(address)

    @property
    def listed(self) -> str:
        """The list as --allow-from takes it: "@loopback,@attached"."""
        return ",".join(str(selector) for selector in self._selectors)

    def describe(self) -> str:
        """The list in words, for the operator: "loopback and 192.168.1.0/24 (attached)"."""
        if ANY in self._sets:
            return "anyone"
        words = [word for selector in self._selectors for word in self._words(selector)]
        if not words:
            return "nobody"
        if self._narrowed and words == ["loopback"]:
            return "loopback alone, since this is a container"
        return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

    def _is_near(self, address: Address) -> bool:
        """Whether a private address is a neighbour's, or this machine's own."""
        return self._routes.is_attached(address) or self._routes.is_own(address)

    def _words(self, selector: str | Network) -> list[str]:
        if selector != ATTACHED:
            return [selector.removeprefix("@") if isinstance(selector, str) else str(selector)]
        near = (net for net in self._routes.attached_networks() if category(net.network_address) in NEARBY)
        return [f"{network} (attached)" for network in near]


def _chosen(config: AccessConfig, has_users: bool, in_container: bool) -> tuple[str | Network, ...]:
    """The operator's list, or what is safe where there is none."""
    if not has_users and config.without_password is not None:
        return config.without_password
    if config.allow_from is not None:
        return config.allow_from
    if config.open_proxy or has_users:
        return (ANY,)
    return (LOOPBACK,) if in_container else (LOOPBACK, ATTACHED)
