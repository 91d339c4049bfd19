"""What versions and commands of SOCKS can be told: the part of `model` beyond CONNECT."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from forksocks.config.addresses import Address


class CommandName(enum.Enum):
    """What a client may ask for (RFC 1928 section 4, and Tor's RESOLVE), as rules and listeners name it."""

    CONNECT = "connect"
    BIND = "bind"
    UDP = "udp"
    RESOLVE = "resolve"


class Dialect(enum.Enum):
    """A version of SOCKS; a client's first byte says which one it speaks."""

    SOCKS5 = "socks5"
    SOCKS4 = "socks4"


class Lock(enum.Enum):
    """What of a UDP client stays as it first was: PORT its address and port, ADDRESS the address alone."""

    PORT = "port"
    ADDRESS = "address"


class Accept(enum.Enum):
    """Whose datagrams a UDP client gets: SENT from those that it has written to, or from ANY."""

    SENT = "sent"
    ANY = "any"


class Fragments(enum.Enum):
    """What becomes of fragments of UDP datagrams (RFC 1928 section 7)."""

    REASSEMBLE = "reassemble"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Ports:
    """One port, or a range of them; both ends are in it."""

    first: int
    last: int

    def __str__(self) -> str:
        """As a user writes it: `443`, `8000-8999`."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


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
class UdpConfig:
    """UDP ASSOCIATE: where clients send their datagrams, and what is taken from whom.

    ports None: the kernel chooses. bind None: the address that the client's connection came to.
    advertise: what clients are told in its place. rate: datagrams of one association, both ways together.
    """

    ports: Ports | None = None
    advertise: Address | None = None
    bind: Address | None = None
    lock: Lock = Lock.PORT
    accept: Accept = Accept.SENT
    fragments: Fragments = Fragments.REASSEMBLE
    rate: Rate | None = None


@dataclass(frozen=True, slots=True)
class BindConfig:
    """BIND: where peers come to. any_peer: clients may leave open who is expected (0.0.0.0)."""

    ports: Ports | None = None
    advertise: Address | None = None
    any_peer: bool = False
