from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from forksocks.config.model import AuthMethod, Bind, ListenConfig
from forksocks.process.listeners import BindError, Listener, open_listeners
from tests.machine import open_descriptors

TICK = 2.0
Open = Callable[..., list[Listener]]


def tcp(host: str, port: int = 0) -> Bind:
    return Bind(host=ip_address(host), port=port)


def listen(*binds: Bind) -> ListenConfig:
    return ListenConfig(name="default", bind=binds, auth=(AuthMethod.NONE,))


@pytest.fixture
def opened() -> Iterator[Open]:
    made: list[Listener] = []
    before = open_descriptors()

    def start(*binds: Bind) -> list[Listener]:
        made.extend(open_listeners([listen(*binds)], TICK))
        return made

    yield start
    for listener in made:
        listener.endpoint.close()
    assert open_descriptors() == before


def test_a_free_port_is_told_as_it_is(opened: Open) -> None:
    first, second = opened(tcp("127.0.0.1"), tcp("::1"))
    assert first.address == f"127.0.0.1:{first.socket.getsockname()[1]}"
    assert second.address == f"[::1]:{second.socket.getsockname()[1]}"


def test_accept_returns_after_a_tick(opened: Open) -> None:
    (listener,) = opened(tcp("127.0.0.1"))
    timeout = listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
    assert struct.unpack("ll", timeout) == (2, 0)


def test_ipv6_takes_no_ipv4(opened: Open) -> None:
    (listener,) = opened(tcp("::"))
    assert listener.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    with socket.socket() as other:  # IPv4's half of the port is still free
        other.bind(("127.0.0.1", listener.socket.getsockname()[1]))


def test_an_address_in_use_is_named_and_nothing_stays_open(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        before = open_descriptors()
        address = tcp("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(BindError, match=rf"^cannot listen on {address}: .*in use by another process$"):
            open_listeners([listen(tcp("127.0.0.1"), Bind(path=path)), listen(address)], TICK)
        assert open_descriptors() == before
    assert not path.exists()


@pytest.mark.parametrize(
    ("bind", "why"),
    [
        (tcp("192.0.2.1"), "this machine has no such address"),
        (Bind(path=Path("/nonexistent/socket")), "No such file or directory"),
    ],
)
def test_why_an_address_cannot_be_had(bind: Bind, why: str) -> None:
    with pytest.raises(BindError) as caught:
        open_listeners([listen(bind)], TICK)
    assert str(caught.value) == f"cannot listen on {bind}: {why}"


class TestUnix:
    def test_its_name_goes_with_it(self, opened: Open, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        (listener,) = opened(Bind(path=path))
        assert listener.address == f"unix:{path}"
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        listener.endpoint.close()
        assert not path.exists()

    def test_what_a_dead_server_left_is_replaced(self, opened: Open, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
            dead.listen()
        opened(Bind(path=path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))

    def test_a_living_servers_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        with socket.socket(socket.AF_UNIX) as living:
            living.bind(str(path))
            living.listen()
            with pytest.raises(BindError):
                open_listeners([listen(Bind(path=path))], TICK)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))

    def test_a_file_that_is_no_socket_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "socket"
        path.write_text("precious")
        with pytest.raises(BindError, match="not a socket"):
            open_listeners([listen(Bind(path=path))], TICK)
        assert path.read_text() == "precious"
