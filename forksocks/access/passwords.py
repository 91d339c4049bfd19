"""A name and a password on their way to the process that knows the hashes, and its yes or no."""

from __future__ import annotations

from typing import Protocol

YES, NO = b"+", b"-"


class Verifier(Protocol):
    """Whoever can tell whether a name and a password belong together."""

    def verify(self, name: bytes, password: bytes) -> bool:
        """Whether they do; equally slow for names that do not exist."""
        ...


def question(name: bytes, password: bytes) -> bytes:
    """Return both as one message; a name has at most 255 bytes (RFC 1929)."""
    return bytes((len(name),)) + name + password


def answer(message: bytes, users: Verifier) -> bytes:
    """Return YES or NO to a message that `question` made."""
    end = 1 + message[0]
    return YES if users.verify(message[1:end], message[end:]) else NO
