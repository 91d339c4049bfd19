from __future__ import annotations

import errno
import os
import socket
import struct

import pytest

from forksocks.host import linux
from forksocks.host.sandbox import landlock
from tests.host.sandbox.apart import apart, errno_of


def attempts(newest: int) -> dict[str, object]:
    """Confine this process as an older kernel would, and try."""
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    parent = os.getppid()
    said = landlock.restrict((), None, newest=newest)
    free = socket.socket()
    return {
        "lacks": said.partition(", ")[2],
        "read": errno_of(lambda: os.open("/etc/passwd", os.O_RDONLY)),
        "list": errno_of(lambda: os.listdir("/")),
        "create": errno_of(lambda: os.open("/tmp/forksocks-no", os.O_WRONLY | os.O_CREAT)),
        "truncate": errno_of(lambda: os.truncate("/etc/hosts", os.stat("/etc/hosts").st_size)),
        "port": errno_of(lambda: socket.socket().bind(("127.0.0.1", 31337))),
        "any port": errno_of(lambda: free.bind(("127.0.0.1", 0))),
        "signal": errno_of(lambda: os.kill(parent, 0)),
    }


@pytest.mark.parametrize("newest", range(1, landlock.NEWEST + 1))
def test_each_version_holds_what_it_knows(newest: int) -> None:
    found = apart(attempts, newest)
    assert landlock.version() >= landlock.NEWEST  # else the kernel masks what this test is about
    assert (found["read"], found["list"], found["create"]) == (errno.EACCES,) * 3
    assert found["truncate"] == (errno.EACCES if newest >= 3 or os.geteuid() else 0)
    assert found["port"] == (errno.EACCES if newest >= 4 else 0)
    assert found["signal"] == (errno.EPERM if newest >= 6 else 0)
    assert found["any port"] == 0
    without = [what for what, since in (("ports", 4), ("signals", 6)) if newest < since]
    assert found["lacks"] == ", ".join(f"without {what}" for what in without)


def reader() -> dict[str, int]:
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        landlock.restrict(("/etc", "/no/such/directory"), (53,))
        return {
            "read": errno_of(lambda: os.close(os.open("/etc/passwd", os.O_RDONLY))),
            "write": errno_of(lambda: os.open("/etc/passwd", os.O_RDWR)),
            "elsewhere": errno_of(lambda: os.open("/proc/self/status", os.O_RDONLY)),
            "dns": errno_of(lambda: socket.socket().connect(("127.0.0.1", 53))),
            "dial": errno_of(lambda: socket.socket().connect(("127.0.0.1", port))),
        }


def test_a_process_that_may_read_reads_and_no_more() -> None:
    found = apart(reader)
    assert found["read"] == 0
    assert (found["write"], found["elsewhere"], found["dial"]) == (errno.EACCES,) * 3
    assert found["dns"] in (0, errno.ECONNREFUSED)


@pytest.mark.parametrize(
    ("abi", "words"),
    [
        (1, [0x1FFF]),
        (2, [0x3FFF]),
        (3, [0x7FFF]),
        (4, [0x7FFF, 1]),
        (5, [0xFFFF, 1]),
        (6, [0xFFFF, 1, 3]),
        (99, [0xFFFF, 1, 3]),
    ],
)
def test_what_is_handled_is_what_the_version_knows(abi: int, words: list[int]) -> None:
    assert struct.unpack(f"={len(words)}Q", landlock.handled(abi, dials_are_few=False)) == tuple(words)


def test_without_no_new_privileges_it_refuses() -> None:
    assert apart(unprepared) == (errno.EPERM if os.geteuid() else 0)


def unprepared() -> int:
    return errno_of(lambda: landlock.restrict((), None))


def test_elsewhere_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "IS_LINUX", False)
    with pytest.raises(OSError, match="this system has none"):
        landlock.version()
