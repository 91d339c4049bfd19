"""What every verb of `forksocksctl` shares: how it ends."""

from __future__ import annotations

DONE, REFUSED, USAGE, NO_SERVER = 0, 1, 2, 3


class Refused(Exception):
    """The verb cannot or may not be done; the text is one line for the user."""


class WrongUsage(Exception):
    """The arguments do not make sense together; the text is one line for the user."""


class NoServer(Exception):
    """Nobody answers; the text is one line for the user."""
