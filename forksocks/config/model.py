"""What forksocks can be told: frozen values, one class a section.

Nothing here reads a file or a flag (`load` does). Rooms get the slice that they need, never the whole.
Times are seconds, sizes bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from forksocks.config.commands import BindConfig as BindConfig
from forksocks.config.commands import Dialect as Dialect
from forksocks.config.commands import Ports as Ports
from forksocks.config.commands import UdpConfig as UdpConfig

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class AuthMethod(enum.Enum):
    """How a client may prove who it is; a listener lists them in order of preference."""

    NONE = "none"
    PASSWORD = "password"


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


class CommandName(enum.Enum):
    """What a client may ask for (RFC 1928 section 4, and Tor's RESOLVE), as rules and listeners name it."""

    CONNECT = "connect"
    BIND = "bind"
    UDP = "udp"
    RESOLVE = "resolve"


class Action(enum.Enum):
    """What a rule does; REPORT allows, and logs that it would have denied."""

    ALLOW = "allow"
    DENY = "deny"
    DROP = "drop"
    REPORT = "report"


class Level(enum.IntEnum):
    """How much is logged; each level includes those before it."""

    ERROR = 0
    NOTICE = 1
    INFO = 2
    DEBUG = 3
    TRACE = 4


class LogFormat(enum.Enum):
    """The shape of a log line: the same fields either way."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Bind:
    """One listening address: a TCP address and port, or the path of a unix socket.

    Exactly one of `host` and `path` is set; port 0 asks the kernel for a free port.
    """

    host: Address | None = None
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        """As a user writes it: `192.0.2.1:1080`, `[::1]:1080`, `unix:/run/forksocks.sock`."""
        if self.host is None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if self.host.version == 6 else f"{self.host}:{self.port}"


DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""The days of a week, as `time.localtime` numbers them."""


@dataclass(frozen=True, slots=True)
class Window:
    """Hours on some days: `days` by number (0 is Monday), minutes of the day from `start` until before `end`.

    One that ends before it begins goes on past midnight.
    """

    days: tuple[int, ...]
    start: int
    end: int

    def __str__(self) -> str:
        """As a user writes it: `mon,tue 08:00-18:00`."""
        hours = "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.start, self.end))
        return f"{','.join(DAYS[day] for day in self.days)} {hours}"


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


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The processes. `workers` is already a number: "auto" has been resolved by then."""

    workers: int = 4
    threads: int = 1024
    user: str | None = None
    drain: float = 300.0
    hang: float = 30.0
    pidfile: Path | None = None
    daemon: bool = False
    relay: RelayKind = RelayKind.AUTO
    sandbox: SandboxMode = SandboxMode.AUTO


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
    may do without one where a listener has another method beside "none"; None: all.
    """

    allow_from: tuple[str | Network, ...] | None = None
    without_password: tuple[str | Network, ...] | None = None
    allow_to: tuple[str | Network, ...] = ()
    open_proxy: bool = False


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Where users and their password hashes are kept."""

    users: Path | None = None


@dataclass(frozen=True, slots=True)
class HelperConfig:
    """A program that checks passwords in place of a users file: one of Squid's basic authentication helpers.

    concurrency: questions that one process takes at once, 0 for one without a channel number. remember: how
    long what it said to be right is believed. user: the account that it runs as, None for the server's.
    """

    command: tuple[str, ...] = ()
    processes: int = 4
    concurrency: int = 0
    timeout: float = 5.0
    remember: float = 60.0
    user: str | None = None


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


class Per(enum.Enum):
    """Whom a limit counts apart; addresses by their /32 and /128, or by wider prefixes."""

    USER = "user"
    ADDRESS = "address"
    NETWORK = "address/24+64"
    LISTENER = "listen"
    RULE = "rule"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second on average, and at most `burst` in any burst/per_second seconds."""

    per_second: float
    burst: int

    def __str__(self) -> str:
        """As a user writes it: `50/s burst 100`."""
        number, unit = next(
            (self.per_second * seconds, unit)
            for unit, seconds in (("s", 1), ("m", 60), ("h", 3600), ("d", 86400))
            if (self.per_second * seconds).is_integer() or unit == "d"
        )
        return f"{number:g}/{unit} burst {self.burst}"


@dataclass(frozen=True, slots=True)
class LimitConfig:
    """How much one user, address ... may have. None: as much as it likes.

    connections: sessions at a time, of every command; associations: of UDP ASSOCIATE alone.
    """

    per: Per
    connections: int | None = None
    associations: int | None = None
    new: Rate | None = None


# In the lists of rules and sets a text that begins with "@" names a set, one with "file:" a list of entries.
Selector = str | Network


@dataclass(frozen=True, slots=True)
class SetConfig:
    """Pieces of rules under a name: `@name` in a rule's list stands for the set's list of the same key."""

    clients: tuple[Selector, ...] = ()
    users: tuple[str, ...] = ()
    to: tuple[Selector, ...] = ()
    ports: tuple[Ports, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleConfig:
    """One access rule; a list that is empty fits everything, lists of different keys must all fit."""

    name: str
    action: Action
    clients: tuple[Selector, ...] = ()
    users: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    commands: tuple[CommandName, ...] = ()
    to: tuple[Selector, ...] = ()
    ports: tuple[Ports | str, ...] = ()
    times: tuple[Window, ...] = ()
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """Who asks for what in a [[test]]; `address` is what a name resolves to, where that matters.

    listen None: the first listener. client None: a client of a unix socket.
    """

    to: str
    client: Address | None = None
    user: str | None = None
    listen: str | None = None
    command: CommandName = CommandName.CONNECT
    address: Address | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """A decision that has to come out as expected: "allow", "deny no-smtp", "deny @loopback"."""

    given: Case
    expect: str


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that forksocks was told, checked."""

    server: ServerConfig
    listen: tuple[ListenConfig, ...]
    access: AccessConfig = field(default_factory=AccessConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    helper: HelperConfig = field(default_factory=HelperConfig)
    dns: DnsConfig = field(default_factory=DnsConfig)
    egress: EgressConfig = field(default_factory=EgressConfig)
    log: LogConfig = field(default_factory=LogConfig)
    sets: Mapping[str, SetConfig] = field(default_factory=dict)
    limit: Mapping[str, LimitConfig] = field(default_factory=dict)
    rule: tuple[RuleConfig, ...] = ()
    test: tuple[Expectation, ...] = ()

    @property
    def checks_passwords(self) -> bool:
        """Whether there is anything that knows passwords."""
        return self.auth.users is not None or bool(self.helper.command)
