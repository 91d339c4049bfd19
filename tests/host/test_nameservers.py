from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from forksocks.host import nameservers


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(30)
        yield sock


def test_who_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    assert nameservers.configured(file) == ["127.0.0.1"]
    file.write_text("search example\nnameserver\n# nameserver 192.0.2.9\n")
    assert nameservers.configured(file) == ["127.0.0.1"]
    file.write_text("".join(f"nameserver 192.0.2.{number}\n" for number in range(1, 6)))
    assert nameservers.configured(file) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_a_server_that_answers(server: socket.socket) -> None:
    asked = []

    def answer() -> None:
        question, client = server.recvfrom(512)
        asked.append(question)
        server.sendto(b"of somebody else", client)
        server.sendto(question[:2] + b"\x81\x85" + question[4:], client)  # REFUSED

    thread = threading.Thread(target=answer)
    thread.start()
    assert nameservers.answers("127.0.0.1", 30, server.getsockname()[1])
    thread.join()
    assert asked[0][2:] == bytes.fromhex("0100 0001 0000 0000 0000 00 0002 0001")  # RFC 1035 section 4.1


def test_a_server_that_says_nothing(server: socket.socket) -> None:
    assert not nameservers.answers("127.0.0.1", 0.01, server.getsockname()[1])
    assert not nameservers.answers("no.address", 30)
