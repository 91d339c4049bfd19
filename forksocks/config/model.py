"""What forksocks can be told: frozen values, one class a section.

Nothing here reads a file or a flag (`load` does). Rooms get the slice that they need, never the whole, and
find every setting's type here; that some are defined in parts of this file is nobody else's business.
Times are seconds, sizes bytes.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from forksocks.config.addresses import Address, Bind, Network, endpoint
from forksocks.config.admin import AdminConfig
from forksocks.config.commands import (
    Accept,
    BindConfig,
    CommandName,
    Dialect,
    Fragments,
    Lock,
    Ports,
    Rate,
    UdpConfig,
)
from forksocks.config.levels import Level
from forksocks.config.logins import AuthMethod, GssapiConfig, HelperConfig, Protection
from forksocks.config.rules import (
    DAYS,
    Action,
    Case,
    Expectation,
    LimitConfig,
    Per,
    RuleConfig,
    Selector,
    SetConfig,
    Window,
)


class Families(enum.Enum):
    """Which addresses of a name are tried."""

    HAPPY_EYEBALLS = "happy-eyeballs"
    IPV4 = "4"
    IPV6 = "6"


class RelayKind(enum.Enum):
    """How bytes are moved: AUTO takes splice where the system has it."""

    AUTO = "auto"
    SPLICE = "splice"
    COPY = "copy"


class SandboxMode(enum.Enum):
    """How processes are confined: AUTO by every layer that there is, REQUIRE by all or not at all."""

    AUTO = "auto"
    REQUIRE = "require"
    OFF = "off"


class LogFormat(enum.Enum):
    """The shape of a log line: the same fields either way."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each phase of a session may take, in seconds."""

    handshake: float = 10.0
    resolve: float = 5.0
    connect: float = 10.0
    idle: float = 3600.0
    half_closed: float = 120.0
    udp_idle: float = 120.0
    bind: float = 120.0


# A worker has some 20 MiB, and a connection some 25 KiB of it (resident, shared pages included).
WORKERS_MEMORY, THREADS_MEMORY = 512 << 20, 64 << 10


class Size(int):
    """A number of bytes."""


def usual_workers() -> int:
    """Twice the cores that we may run on, at least 2."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(1024, max(2, 2 * cores))


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The processes. `workers` is already a number: "auto" has been resolved by then."""

    workers: int = field(default_factory=usual_workers)
    threads: int = 1024
    user: str | None = None
    drain: float = 300.0
    hang: float = 30.0
    memory_limit: Size | None = None
    start_limit: float = 60.0
    pidfile: Path | None = None
    daemon: bool = False
    relay: RelayKind = RelayKind.AUTO
    sandbox: SandboxMode = SandboxMode.AUTO

    @property
    def most_memory(self) -> int:
        """Bytes beyond which a worker has outgrown what `threads` connections ever need."""
        return self.memory_limit or WORKERS_MEMORY + self.threads * THREADS_MEMORY


@dataclass(frozen=True, slots=True)
class ListenConfig:
    """One listener: the addresses that share a name and a way to authenticate."""

    name: str
    bind: tuple[Bind, ...]
    auth: tuple[AuthMethod, ...]
    protocols: tuple[Dialect, ...] = (Dialect.SOCKS5, Dialect.SOCKS4)
    commands: tuple[CommandName, ...] = (CommandName.CONNECT, CommandName.UDP, CommandName.RESOLVE)
    backlog: int = 4096
    timeouts: Timeouts = field(default_factory=Timeouts)
    udp: UdpConfig = field(default_factory=UdpConfig)
    bind_command: BindConfig = field(default_factory=BindConfig)


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Who may come in and what they may reach beyond the public internet.

    A selector is a network or the name of a set, "@attached". `allow_from` None means that nobody chose:
    the default then depends on users and on `open_proxy` (access.clients). `without_password`: who of these
    may do without one where a listener has another method beside "none"; None: all. own: addresses that lead
    to this machine and that it does not know of, outside of NAT or a balancer.
    """

    allow_from: tuple[str | Network, ...] | None = None
    without_password: tuple[str | Network, ...] | None = None
    allow_to: tuple[str | Network, ...] = ()
    own: tuple[Network, ...] = ()
    open_proxy: bool = False


@dataclass(frozen=True, slots=True)
class LockoutConfig:
    """When wrong passwords ban an address or a user: so many within `window`, and for how long.

    failures 0: never. ban: the first; each further one is twice as long, up to max_ban. file: where all
    that is known of it outlives the server; None: nowhere.
    """

    failures: int = 10
    window: float = 300.0
    ban: float = 60.0
    max_ban: float = 86400.0
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Where users and their password hashes are kept, and what becomes of those who guess."""

    users: Path | None = None
    lockout: LockoutConfig = field(default_factory=LockoutConfig)


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """How names become addresses."""

    families: Families = Families.HAPPY_EYEBALLS


@dataclass(frozen=True, slots=True)
class EgressConfig:
    """Which of the machine's addresses outgoing connections come from: at most one a family."""

    addresses: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True)
class LogConfig:
    """Where log lines go ("stderr", "syslog" or "file:/path"), their shape, and how many of them."""

    to: str = "stderr"
    format: LogFormat = LogFormat.TEXT
    level: Level = Level.NOTICE


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that forksocks was told, checked."""

    server: ServerConfig
    listen: tuple[ListenConfig, ...]
    access: AccessConfig = field(default_factory=AccessConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    helper: HelperConfig = field(default_factory=HelperConfig)
    gssapi: GssapiConfig = field(default_factory=GssapiConfig)
    dns: DnsConfig = field(default_factory=DnsConfig)
    egress: EgressConfig = field(default_factory=EgressConfig)
    log: LogConfig = field(default_factory=LogConfig)
    sets: Mapping[str, SetConfig] = field(default_factory=dict)
    limit: Mapping[str, LimitConfig] = field(default_factory=dict)
    rule: tuple[RuleConfig, ...] = ()
    test: tuple[Expectation, ...] = ()
    admin: AdminConfig = field(default_factory=AdminConfig)

    @property
    def checks_passwords(self) -> bool:
        """Whether there is anything that knows passwords."""
        return self.auth.users is not None or bool(self.helper.command)

    def asks_for(self, method: AuthMethod) -> bool:
        """Whether a listener has this method."""
        return any(method in listen.auth for listen in self.listen)
