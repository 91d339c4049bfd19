from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from forksocks.config.model import Bind
from forksocks.process import inherit
from forksocks.process.inherit import InheritError, take


@pytest.fixture
def first(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Numbers that are free, in place of those from 3 on, which the tests' own process uses."""
    monkeypatch.setattr(inherit, "FIRST", 700)
    yield 700
    for number in range(700, 710):
        try:
            os.close(number)
        except OSError:
            continue


def words(names: Sequence[str], pid: int = 7) -> dict[str, str]:
    return {
        "LISTEN_FDS": str(len(names)),
        "LISTEN_PID": str(pid),
        "LISTEN_FDNAMES": ":".join(names),
        "HOME": "/",
    }


def hand(first: int, *sockets: socket.socket) -> None:
    for number, sock in enumerate(sockets, first):
        os.dup2(sock.fileno(), number, inheritable=True)


def test_sockets_of_every_family(first: int, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as two,
        socket.socket(socket.AF_UNIX) as three,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line,
    ):
        three.bind(str(path))
        three.listen()
        hand(first, one, two, three, line)
        environ = words(["web", "forksocks", "forksocks", "forksocks-line"])
        found = take(environ, 7)
        assert environ == {"HOME": "/"}, "nothing is left for others"
        assert [(str(each.at), each.name) for each in found.endpoints] == [
            (f"127.0.0.1:{one.getsockname()[1]}", "web"),
            (f"[::1]:{two.getsockname()[1]}", "forksocks"),
            (f"unix:{path}", "forksocks"),
        ]
        assert found.endpoints[2].file is not None, "the name is ours to remove"
        assert found.line is not None
        for each in (*[endpoint.socket for endpoint in found.endpoints], found.line):
            assert not each.get_inheritable(), "no child of ours gets it by accident"
            each.close()


def test_a_unix_socket_of_somebody_else_keeps_its_name(first: int, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.listen()
        hand(first, sock)
        [endpoint] = take(words(["unit.socket"]), 7).endpoints
        endpoint.close()
    assert (tmp_path / "socket").exists()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        words(["web"], pid=8),
        {"LISTEN_PID": "7", "LISTEN_FDS": "many"},
        {"LISTEN_PID": "7", "LISTEN_FDS": "\u0661"},
        {"LISTEN_PID": "7"},
    ],
    ids=["nothing", "of another process", "no number", "a number of another script", "half"],
)
def test_what_is_not_for_us_is_left(first: int, environ: dict[str, str]) -> None:
    found = take(dict(environ), 7)
    assert (found.endpoints, found.line) == ((), None)


def test_what_is_no_listening_socket_is_refused(first: int) -> None:
    with pytest.raises(InheritError, match=r"descriptor 700 \('web'\): Bad file descriptor"):
        take(words(["web"]), 7)
    reader, writer = os.pipe()
    os.dup2(reader, first)
    os.close(reader)
    os.close(writer)
    with pytest.raises(InheritError, match="is no socket"):
        take(words(["web"]), 7)
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            hand(first, sock)
            with pytest.raises(InheritError, match="is no listening stream socket"):
                take(words(["web"]), 7)


@pytest.mark.parametrize("count", ["99999999999", "9" * 5000])
def test_more_than_there_can_be_are_refused(first: int, count: str) -> None:
    with pytest.raises(InheritError, match=r"LISTEN_FDS=9{11,20}: a process has \d+ descriptors at most"):
        take({"LISTEN_FDS": count, "LISTEN_PID": "7"}, 7)


def test_sockets_without_names(first: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        hand(first, sock)
        [endpoint] = take({"LISTEN_FDS": "1", "LISTEN_PID": "7"}, 7).endpoints
        assert endpoint.name == "unknown"
        assert endpoint.asked == Bind(host=endpoint.at.host, port=sock.getsockname()[1])
        endpoint.socket.close()
