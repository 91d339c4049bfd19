"""The line between the supervisor and one child: a word each way, with descriptors where the word needs them.

It is also how either notices the other's death: a recv that returns nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket

LARGEST = 4096  # bytes of a word and its text
MOST_DESCRIPTORS = 4


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the supervisor's and the child's end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


def send(sock: socket.socket, word: str, text: str = "", descriptors: tuple[int, ...] = ()) -> bool:
    """Send one word; False if the other side is gone or does not read."""
    message = f"{word} {text}".encode("utf-8", "backslashreplace")[:LARGEST]
    with contextlib.suppress(OSError):
        if descriptors:
            socket.send_fds(sock, [message], list(descriptors))
        else:  # the call that a sandbox leaves to a child
            sock.send(message)
        return True
    return False


def receive(sock: socket.socket) -> tuple[str, str, list[int]] | None:
    """Return the next word, its text and its descriptors; None when the other side is gone.

    Raises BlockingIOError when nothing has come; never where poll(2) has said that something is there: each
    end has one reader.
    """
    try:
        message, descriptors, _flags, _address = socket.recv_fds(sock, LARGEST, MOST_DESCRIPTORS)
    except ConnectionError:
        return None
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    if not message:
        return None
    word, _, text = message.decode("utf-8", "replace").partition(" ")
    return word, text, descriptors
