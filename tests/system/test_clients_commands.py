"""BIND and UDP ASSOCIATE by clients of other languages, against a real server.

Perl's IO::Socket::Socks and npm's socks have both. Java's SOCKS, python-socks and aiohttp-socks have CONNECT
alone; PySocks' UDP is in test_udp.py, and BIND for programs that know none of it in test_bind.py.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.system.conftest import Start
from tests.system.datagrams import port_of, remote
from tests.system.processes import LONG
from tests.system.programs import make_user, run
from tests.system.server import Server, endpoint, environment

SCRIPTS = Path(__file__).parent / "clients"
NODE = {"NODE_PATH": "/usr/share/nodejs"}  # where Debian puts modules
NAME, PASSWORD = "alice", "p@/%word"
CONFIG = """
[access]
allow_to = ["@loopback"]
[auth]
users = "users"
[log]
level = "info"
[server]
workers = 2
drain = "5s"
[[listen]]
name = "five"
bind = ["127.0.0.1:0"]
commands = ["connect", "bind", "udp"]
[[listen]]
name = "four"
bind = ["127.0.0.1:0"]
commands = ["bind"]
auth = ["none"]
"""


@pytest.fixture
def started(server: Start, tmp_path: Path) -> Server:
    make_user(tmp_path / "users", NAME, PASSWORD)
    return server(config=CONFIG)


def words(server: Server, program: str, script: str, version: int) -> list[str]:
    host, port = endpoint(server.addresses[version == 4])
    return [program, str(SCRIPTS / script), str(version), host, str(port), NAME, PASSWORD]


def told(process: subprocess.Popen[bytes]) -> tuple[str, int]:
    """The address and port on the next line that a client writes."""
    assert process.stdout
    host, port = process.stdout.readline().decode().split()
    return host, int(port)


def meet(command: Sequence[str], extra: Mapping[str, str]) -> None:
    """Be the peer of a client that runs until it has ended."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stdin=pipe, env={**environment(), **extra}) as process:
        try:
            with socket.create_connection(told(process), LONG) as peer:
                assert told(process) == peer.getsockname()
                for text in (b"hello", b"again"):
                    peer.sendall(text)
                    assert peer.recv(99) == text
            assert process.wait(LONG) == 0
        finally:
            process.kill()


# Perl's accept (IO::Socket::Socks 0.74) reads the second reply of version 4 as one of version 5.
@pytest.mark.parametrize(
    ("program", "script", "version"), [("perl", "bind.pl", 5), ("node", "bind.js", 5), ("node", "bind.js", 4)]
)
def test_bind(started: Server, program: str, script: str, version: int) -> None:
    meet([*words(started, program, script, version), "127.0.0.1"], NODE)
    end = started.wait_for("end", cmd="bind", reply=0, up=10, down=10)
    assert end.get("user") == (NAME if version == 5 else None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize(("program", "script"), [("perl", "udp.pl"), ("node", "udp.js")])
def test_udp(started: Server, program: str, script: str, host: str) -> None:
    with remote() as there:
        command = [*words(started, program, script, 5), host, str(port_of(there)), "hello"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**environment(), **NODE}) as process:
            try:
                data, source = there.recvfrom(99)
                assert data == b"hello"
                there.sendto(b"and back", source)
                assert process.communicate(timeout=LONG)[0] == b"127.0.0.1 %d and back\n" % port_of(there)
            finally:
                process.kill()
    end = started.wait_for("end", cmd="udp", user=NAME)
    assert (end["sent"], end["received"], end["dropped"]) == ("1", "1", "0")


@pytest.mark.parametrize(
    ("program", "script"), [("perl", "udp.pl"), ("node", "udp.js"), ("perl", "bind.pl"), ("node", "bind.js")]
)
def test_a_wrong_password(started: Server, program: str, script: str) -> None:
    command = words(started, program, script, 5)
    done = run(*command[:-1], "wrong", "127.0.0.1", "9", "hello", status=None, extra=NODE)
    assert done.status != 0
    assert done.out == b""
    started.wait_for("end", user=NAME, cause="auth-failed")
