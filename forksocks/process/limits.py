"""What the machine's limits leave of a configuration."""

from __future__ import annotations

import dataclasses

from forksocks.config.model import CommandName, Config
from forksocks.host import kernel

# What a session needs on average: its sockets, now and then a pipe, which it can do without.
DESCRIPTORS_A_SESSION = kernel.SOCKETS_A_SESSION + 1


def within_limits(config: Config) -> tuple[Config, str | None]:
    """Return the configuration with as many threads as there are descriptors for, and what was reduced."""
    limit = kernel.raise_descriptor_limit()
    most = max(1, (limit - kernel.RESERVED_DESCRIPTORS) // DESCRIPTORS_A_SESSION)
    if config.server.threads <= most:
        return config, None
    fewer = dataclasses.replace(config, server=dataclasses.replace(config.server, threads=most))
    return fewer, f"threads from {config.server.threads}: {limit} descriptors"


def peer_ports(config: Config) -> frozenset[int]:
    """The ports where listeners let peers in for their clients (BIND), beside free ones."""
    ranges = [listen.bind_command.ports for listen in config.listen if CommandName.BIND in listen.commands]
    return frozenset(port for each in ranges if each for port in range(each.first, each.last + 1))
