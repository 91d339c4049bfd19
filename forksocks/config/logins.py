"""How clients may prove who they are, and what checks it; a part of `model`."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path


class AuthMethod(enum.Enum):
    """How a client may prove who it is; a listener lists them in order of preference."""

    NONE = "none"
    PASSWORD = "password"  # noqa: S105 - the word of a method
    GSSAPI = "gssapi"


class Protection(enum.Enum):
    """What GSSAPI may do for the bytes between a client and this server."""

    NONE = "none"
    INTEGRITY = "integrity"
    CONFIDENTIALITY = "confidentiality"


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
class GssapiConfig:
    """Kerberos by GSSAPI (RFC 1961).

    keytab: the server's keys. protection: what clients may agree on. realms: principals of these are known by
    their name alone, all others by name@REALM.
    """

    keytab: Path | None = None
    protection: tuple[Protection, ...] = (Protection.CONFIDENTIALITY, Protection.INTEGRITY)
    realms: tuple[str, ...] = ()
