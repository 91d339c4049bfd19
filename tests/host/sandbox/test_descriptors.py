from __future__ import annotations

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
    descriptors.lift([listener, quiet], 500)
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


@pytest.mark.parametrize(
    ("hard", "wanted", "number"),
    [(resource.RLIM_INFINITY, 5000, 5000), (20000, 5000, 5000), (1024, 5000, 1024 - 20 - descriptors.SPARE)],
)
def test_the_base_fits_below_the_hard_limit(
    hard: int, wanted: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))
    assert descriptors.base(wanted, 20) == number
