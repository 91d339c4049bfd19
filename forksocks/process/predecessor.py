"""The program before us, as the new program of an upgrade sees it; see process/upgrade.py."""

from __future__ import annotations

import os
import socket

from forksocks.host import control


class Predecessor:
    """The line to it; None: nobody hands over to us, and all is ours from the start.

    It stays open once all is ours, until it has ended: as long as we serve, or whoever has followed us, it
    need not come back.
    is_waiting: it still is the server. estate: the descriptor of what it has counted, once it has let go;
    None if it told nothing.
    """

    def __init__(self, line: socket.socket | None = None) -> None:
        self._line = line
        self.is_waiting = line is not None
        self.estate: int | None = None

    def fileno(self) -> int:
        """What poll(2) can wait for; -1 when there is nothing to wait for."""
        return -1 if self._line is None else self._line.fileno()

    def ready(self) -> None:
        """All our workers are ready."""
        if self._line is not None:
            control.send(self._line, "ready")

    def failed(self, text: str) -> None:
        """We cannot do it."""
        if self._line is not None:
            control.send(self._line, "failed", text)

    def hear(self) -> None:
        """Take its word. All is ours when it says so, or when it is gone, which closes the line."""
        heard = None if self._line is None else control.receive(self._line)
        if heard is None:
            self.is_waiting = False
            self.close()
            return
        word, _, descriptors = heard
        for descriptor in descriptors:
            if word == "yours" and self.estate is None:
                self.estate = descriptor
            else:
                os.close(descriptor)
        if word == "yours":
            self.is_waiting = False

    def is_followed(self, followed: bool) -> None:
        """Whether another program now serves in our place: then our own end, of whatever kind, is no loss."""
        if self._line is not None and not self.is_waiting:
            control.send(self._line, "followed" if followed else "returned")

    def close(self) -> None:
        """Give the line back."""
        if self._line is not None:
            self._line.close()
            self._line = None
