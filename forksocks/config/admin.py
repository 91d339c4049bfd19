"""What the process that tells about the server can be told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """Where `forksocksctl` asks, None for nowhere, and the group that may beside root and the account."""

    socket: Path | None = None
    group: str | None = None
