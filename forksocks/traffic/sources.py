"""Which of the machine's own addresses something goes out from, and by which interface."""

from __future__ import annotations

import socket
from typing import NamedTuple, Protocol

from forksocks.config.model import Address
from forksocks.host import kernel


class Source(NamedTuple):
    """Where something goes out from; what is None is left to the kernel."""

    address: Address | None = None
    interface: str | None = None

    def put_on(self, sock: socket.socket) -> None:
        """Have a socket that is neither bound nor connected go out from here. Raises OSError."""
        if self.interface is not None:
            kernel.leave_by(sock, self.interface)
        if self.address is not None:
            sock.bind((str(self.address), 0))


class Sources(Protocol):
    """Sources by IP version; a mapping is one. Asked right after an address was permitted."""

    def get(self, version: int, /) -> Source | None:
        """The source, None to leave it to the kernel."""
