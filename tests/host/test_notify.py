from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from forksocks.host.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A service manager's socket, and its name as it stands in NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        if request.param == "path":
            name = str(tmp_path / "notify")
            sock.bind(name)
        else:
            sock.bind("")  # the kernel chooses an abstract name (unix(7), autobind)
            name = "@" + sock.getsockname()[1:].decode()
        yield name, sock


def heard(sock: socket.socket) -> list[str]:
    found = []
    try:
        while True:
            found.append(sock.recv(4096).decode())
    except BlockingIOError:
        return found


def test_what_is_said(manager: tuple[str, socket.socket]) -> None:
    name, sock = manager
    notifier = Notifier(name)
    notifier.ready()
    notifier.look("5 connections")
    notifier.look("5 connections")
    notifier.look("6 connections")
    notifier.stopping(2.5)
    assert heard(sock) == [
        "READY=1", "STATUS=5 connections", "STATUS=6 connections", "STOPPING=1\nEXTEND_TIMEOUT_USEC=2500000",
    ]  # fmt: skip


def test_a_reload_carries_the_monotonic_clock(manager: tuple[str, socket.socket]) -> None:
    name, sock = manager
    before = monotonic()
    Notifier(name).reloading()
    [text] = heard(sock)
    first, second = text.split("\n")
    assert first == "RELOADING=1"
    assert before - 1 <= int(second.removeprefix("MONOTONIC_USEC=")) / 1e6 <= monotonic()


def test_after_handing_over_nothing_more_is_said(manager: tuple[str, socket.socket]) -> None:
    name, sock = manager
    notifier = Notifier(name, watchdog=0.0)
    notifier.handed_over(4711)
    notifier.ready()
    notifier.look("still here")
    assert heard(sock) == ["MAINPID=4711"]
    assert notifier.due() == []


def test_signs_of_life_at_half_the_time(manager: tuple[str, socket.socket]) -> None:
    name, sock = manager
    environ = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3600000000", "WATCHDOG_PID": "7"}
    notifier = Notifier.from_environment(environ, 7)
    notifier.look("")
    notifier.look("")
    assert heard(sock) == ["WATCHDOG=1"]
    [due] = notifier.due()
    assert 1790 < due - monotonic() <= 1800


@pytest.mark.parametrize(
    "environ",
    [
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {},
    ],
)
def test_a_watchdog_that_is_not_meant_for_us(environ: dict[str, str]) -> None:
    assert Notifier.from_environment({"NOTIFY_SOCKET": "/nowhere", **environ}, 7).due() == []


@pytest.mark.parametrize("address", [None, "/nonexistent/notify", "@forksocks-nobody-listens"])
def test_nobody_to_tell(address: str | None) -> None:
    notifier = Notifier(address)
    notifier.ready()
    notifier.look("fine")
    notifier.stopping(1)


def test_a_manager_that_does_not_read_is_not_waited_for(manager: tuple[str, socket.socket]) -> None:
    name, sock = manager
    notifier = Notifier(name)
    for number in range(5000):  # more than any queue holds
        notifier.look(str(number))
    assert 0 < len(heard(sock)) < 5000
