"""Which of the machine's own addresses something goes out from."""

from __future__ import annotations

from typing import Protocol

from forksocks.config.model import Address


class Sources(Protocol):
    """Own addresses by IP version; a mapping is one. Asked right after an address was permitted."""

    def get(self, version: int, /) -> Address | None:
        """The address to bind to, None to leave it to the kernel."""
