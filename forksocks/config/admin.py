"""What the process that tells about the server can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from forksocks.config.addresses import Bind


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """Where `forksocksctl` asks, None for nowhere, and the group that may beside root and the account.

    http: where metrics and the state are served over HTTP, None for nowhere. http_open: whether that may be
    an address which others reach.
    """

    socket: Path | None = None
    group: str | None = None
    http: Bind | None = None
    http_open: bool = False
