"""What the machine's limits leave of a configuration, and what they make impossible."""

from __future__ import annotations

import dataclasses

from forksocks.config.checks import THREADS_PER_ADDRESS
from forksocks.config.model import AuthMethod, CommandName, Config
from forksocks.host import kernel
from forksocks.host.ceilings import Ceilings
from forksocks.process.children import NAME_CHANNELS, PASSWORD_CHANNELS

# What a session needs on average: its sockets, now and then a pipe, which it can do without.
DESCRIPTORS_A_SESSION = kernel.SOCKETS_A_SESSION + 1
# What the supervisor holds: of its own (22, and some to fork with), for a helper, and for a worker beside
# both ends of its channels to the agent: its line, its board, its claims, its last words, those for orders.
SUPERVISORS_OWN = 34
OF_A_HELPER = 4
OF_A_WORKER = 8
# Boards of claims that are there already for workers to come, beside those of a next generation.
OF_A_SPARE_BOARD = 2
SPARE_WORKERS = 4
# Threads of a worker beside its sessions' (main, log), and of everybody else but the lookup agent.
BESIDE_SESSIONS = 2
OF_OTHERS = 32


def within_limits(config: Config) -> tuple[Config, str | None]:
    """Return the configuration with as many threads as there are descriptors for, and what was reduced."""
    limit = kernel.raise_descriptor_limit()
    most = max(1, _sessions(limit, config))
    if config.server.threads <= most:
        return config, None
    fewer = dataclasses.replace(config, server=dataclasses.replace(config.server, threads=most))
    return fewer, f"threads from {config.server.threads}: {limit} descriptors"


def shortage(config: Config) -> str | None:
    """What is wrong if there are too few descriptors to start with, and what helps."""
    limit, needed = kernel.raise_descriptor_limit(), _of_supervisor(config)
    if needed <= limit and _sessions(limit, config) >= THREADS_PER_ADDRESS * _addresses(config):
        return None
    while _sessions(needed, config) < THREADS_PER_ADDRESS * _addresses(config):
        needed += 1
    what = f"{config.server.workers} workers on {_addresses(config)} addresses need {needed} descriptors"
    return f"{what}, and the limit is {limit}: raise it (ulimit -n, LimitNOFILE= of systemd), or have fewer"


def descriptors(config: Config) -> int:
    """The least limit of descriptors, which each process has, that leaves all that is configured."""
    of_sessions = config.server.threads * DESCRIPTORS_A_SESSION + _addresses(config)
    limit = max(of_sessions, _of_supervisor(config))
    while _sessions(limit, config) < config.server.threads:
        limit += 1
    return limit


def tasks(config: Config) -> int:
    """How many processes and threads a server has when all sessions that are configured are there."""
    of_worker = config.server.threads + BESIDE_SESSIONS + NAME_CHANNELS + PASSWORD_CHANNELS
    helpers = config.helper.processes if config.helper.command else 0
    return config.server.workers * of_worker + helpers + OF_OTHERS


def impossible(config: Config, ceilings: Ceilings) -> str | None:
    """Which limit leaves less than what is configured, in words for a line of the log; None if none does."""
    found = []
    needs, has = descriptors(config), ceilings.descriptors()
    if has is not None and has < needs:
        found.append(f"{has} descriptors of {needs}")
    needs, ceiling = tasks(config), ceilings.tasks()
    if ceiling is not None and ceiling.most < needs:
        found.append(f"{ceiling.most} tasks of {needs} ({ceiling.name})")
    return ", ".join(found) or None


def _addresses(config: Config) -> int:
    return sum(len(listen.bind) for listen in config.listen)


def _sessions(limit: int, config: Config) -> int:
    """How many a worker can carry."""
    left = limit - kernel.reserved_descriptors(limit) - _addresses(config)
    return left // DESCRIPTORS_A_SESSION


def _of_supervisor(config: Config) -> int:
    asks = any(listen.auth != (AuthMethod.NONE,) for listen in config.listen)
    a_worker = OF_A_WORKER + 2 * (NAME_CHANNELS + PASSWORD_CHANNELS * asks)
    helpers = config.helper.processes if config.helper.command else 0
    spare = config.server.workers + SPARE_WORKERS if config.limit else 0
    rows = config.server.workers * a_worker + helpers * OF_A_HELPER + spare * OF_A_SPARE_BOARD
    return SUPERVISORS_OWN + _addresses(config) + rows


def peer_ports(config: Config) -> frozenset[int]:
    """The ports where listeners let peers in for their clients (BIND), beside free ones."""
    ranges = [listen.bind_command.ports for listen in config.listen if CommandName.BIND in listen.commands]
    return frozenset(port for each in ranges if each for port in range(each.first, each.last + 1))
