from __future__ import annotations

import errno
import os
import resource
import socket
from typing import Any

import pytest

from forksocks.host.sandbox import descriptors
from tests.host.sandbox.apart import apart, errno_of


def lifted() -> dict[str, Any]:
    listener = socket.create_server(("127.0.0.1", 0))
    quiet, other = socket.socketpair()
    quiet.setblocking(False)
    stranger = os.open("/dev/null", os.O_RDONLY)
    kept = os.dup(other.fileno())
    old = listener.fileno()
    os.dup2(1, 50)
    descriptors.raise_sockets([listener, quiet], 500)
    descriptors.silence_standard()
    descriptors.close_others([500, 501, kept, 50])
    client = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    accepted.sendall(b"x")
    answer = {
        "numbers": [listener.fileno(), quiet.fileno()],
        "patience": [listener.gettimeout(), quiet.gettimeout()],
        "inheritable": [os.get_inheritable(500), os.get_inheritable(501)],
        "serves": client.recv(1) == b"x",
        "closed": [
            errno_of(lambda: os.fstat(stranger)) != 0,
            errno_of(lambda: os.fstat(other.fileno())) != 0,
        ],
        "kept": errno_of(lambda: os.fstat(kept)),
        "reused": old in (client.fileno(), accepted.fileno()),
        "standard": [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)],
    }
    os.dup2(50, 1)
    return answer


def test_shared_ones_are_lifted_named_ones_kept_and_the_rest_closed() -> None:
    assert apart(lifted) == {
        "numbers": [500, 501],
        "patience": [None, 0.0],
        "inheritable": [False, False],
        "serves": True,
        "closed": [True, True],
        "kept": 0,
        "reused": True,
        "standard": ["/dev/null"] * 3,
    }


def lowered() -> dict[str, Any]:
    """Everything is where it is in the way of what will be lifted."""
    pairs = [socket.socketpair() for _ in range(2)]
    shared = [end for pair in pairs for end in pair]
    for number, sock in enumerate(shared):
        kept_by = sock.detach()
        os.dup2(kept_by, 503 - number)
        os.close(kept_by)
        sock.__init__(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=503 - number)  # type: ignore[misc]
    file = os.dup2(1, 504)
    low = os.dup(1)
    descriptors.lower_sockets(shared, 500)
    numbers = [descriptors.lower(each, 500) for each in (file, low)]
    below = [sock.fileno() < 500 for sock in shared]
    descriptors.raise_sockets(shared, 500)
    shared[0].sendall(b"x")
    shared[2].sendall(b"y")
    os.fstat(numbers[0])
    return {
        "below": [*below, numbers[0] < 500, numbers[1] == low],
        "gone": errno_of(lambda: os.fstat(504)),
        "numbers": [sock.fileno() for sock in shared],
        "received": [shared[1].recv(9).decode(), shared[3].recv(9).decode()],
        "no room": errno_of(lambda: descriptors.lower(500, 3)),
    }


def test_what_is_in_the_way_is_moved_first() -> None:
    assert apart(lowered) == {
        "below": [True] * 6,
        "gone": errno.EBADF,
        "numbers": [500, 501, 502, 503],
        "received": ["x", "y"],
        "no room": errno.EMFILE,
    }


@pytest.mark.parametrize(
    ("hard", "wanted", "number"),
    [(resource.RLIM_INFINITY, 5000, 5000), (20000, 5000, 5000), (1024, 5000, 1024 - 20 - descriptors.SPARE)],
)
def test_the_base_fits_below_the_hard_limit(
    hard: int, wanted: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))
    assert descriptors.base(wanted, 20) == number
