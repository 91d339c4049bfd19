"""A name and a password on their way to the process that knows the hashes, and its yes or no."""

from __future__ import annotations

YES, NO = b"+", b"-"


def question(name: bytes, password: bytes) -> bytes:
    """Return both as one message; a name has at most 255 bytes (RFC 1929)."""
    return bytes((len(name),)) + name + password


def read_question(message: bytes) -> tuple[bytes, bytes]:
    """Return the name and the password of a message that `question` made."""
    end = 1 + message[0]
    return message[1:end], message[end:]
