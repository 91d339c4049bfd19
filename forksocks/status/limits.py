"""The limits that are served by, and who has most of each now: of all that a limit counts apart, as
access.limits has it, the one with the most sessions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network

from forksocks.access.limits import PREFIXES
from forksocks.config.model import LimitConfig, Per
from forksocks.status import tunnels
from forksocks.status.frame import Object, Server

# States of a session that has been granted what it asked for, which is when limits count it.
GRANTED = frozenset(("connect", "tunnel", "closing"))


def limits(server: Server) -> Iterator[Object]:
    """Each limit: what it allows, for which rules (none: for everyone), who has most, and of how many."""
    config = server.sources.config
    asking = {name: [rule.name for rule in config.rule if name in rule.limits] for name in config.limit}
    granted = _granted(
        server, any(asking.values()) or any(each.per is Per.RULE for each in config.limit.values())
    )
    for name, limit in config.limit.items():
        counted: Counter[str] = Counter()
        for each in granted:
            subject = _SUBJECTS[limit.per](each)
            if subject is not None and _holds(limit, asking[name], each):
                counted[subject] += 1
        who, most = counted.most_common(1)[0] if counted else ("", 0)
        yield {
            "limit": name, "per": limit.per.value, "connections": limit.connections,
            "associations": limit.associations, "new": None if limit.new is None else str(limit.new),
            "rules": asking[name], "most": most, "who": who, "subjects": len(counted),
        }  # fmt: skip


def _granted(server: Server, with_rules: bool) -> list[Object]:
    if not server.sources.config.limit:
        return []
    found = tunnels.with_rules(server) if with_rules else tunnels.every(server)
    return [each for _, each in found if each["state"] in GRANTED]


def _holds(limit: LimitConfig, rules: list[str], tunnel: Object) -> bool:
    """Whether a session counts towards a limit; one on associations alone counts those."""
    if rules and tunnel["rule"] not in rules:
        return False
    return limit.connections is not None or limit.associations is None or tunnel["command"] == "udp"


def _host(tunnel: Object) -> str:
    """The client without its port; those of a unix socket are one."""
    client: str = tunnel["client"]
    return client.rpartition(":")[0].strip("[]") or client


def _network(tunnel: Object) -> str:
    host = _host(tunnel)
    try:
        return str(ip_network((host, PREFIXES[ip_address(host).version]), strict=False))
    except ValueError:
        return host


# What a limit counts apart; None for what it does not hold for.
_SUBJECTS: Mapping[Per, Callable[[Object], str | None]] = {
    Per.USER: lambda tunnel: tunnel["user"] or None,
    Per.ADDRESS: _host,
    Per.NETWORK: _network,
    Per.LISTENER: lambda tunnel: str(tunnel["listen"]),
    Per.RULE: lambda tunnel: str(tunnel["rule"]),
    Per.ALL: lambda tunnel: "all",
}
