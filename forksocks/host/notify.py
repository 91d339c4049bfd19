"""What systemd is told about us: sd_notify(3) in a few lines, and nothing where no systemd started us.

NOTIFY_SOCKET names a datagram socket, WATCHDOG_USEC how often we must be heard. Children never speak here.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import MutableMapping
from time import monotonic, monotonic_ns


class Notifier:
    """Says how we are; a listener that is gone or does not read loses it, and we never wait for it.

    address: a path, or an abstract name with "@" in front; None: nobody listens. watchdog: seconds between
    two signs of life, None if none are expected.
    """

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self._every = watchdog
        self._given_away: str | None = None
        self._due = 0.0
        self._status = ""

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int) -> Notifier:
        """Read what systemd left for process `pid`."""
        usec, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
        watched = usec.isdecimal() and int(usec) > 0 and whose == str(pid)
        # Half of the time, as sd_watchdog_enabled(3) advises.
        return cls(environ.get("NOTIFY_SOCKET") or None, int(usec) / 2e6 if watched else None)

    def ready(self) -> None:
        """Every worker serves; also the end of a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """A reload has begun; `ready` will say when it is over, whatever became of it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={monotonic_ns() // 1000}")

    def stopping(self, seconds: float) -> None:
        """We end, and need up to that many seconds for it."""
        self._send(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def handed_over(self, pid: int) -> None:
        """From now on another process is the service; we say no more until `took_back`."""
        self._send(f"MAINPID={pid}")
        self._address, self._given_away = None, self._address

    def took_back(self, pid: int) -> None:
        """That process has ended, and we, process `pid`, are the service again.

        systemd takes another for its main process, so it believes us with NotifyAccess=all alone.
        """
        self._address, self._status = self._given_away, ""
        self._send(f"MAINPID={pid}")

    def look(self, status: str) -> None:
        """A turn of the main loop: say the status if it has changed, and that we live if it is time to."""
        if self._address is None:
            return
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")
        if self._every is not None and monotonic() >= self._due:
            self._due = monotonic() + self._every
            self._send("WATCHDOG=1")

    def due(self) -> list[float]:
        """When `look` has to be called at the latest, on the monotonic clock."""
        return [] if self._address is None or self._every is None else [self._due]

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(), os.fsencode(self._address))
