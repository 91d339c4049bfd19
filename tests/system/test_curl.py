"""Debian's curl through a real server."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.system import origins
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin, Web
from tests.system.programs import LIMIT, Done, make_user, run
from tests.system.server import Server, environment

GIGABYTE = 1_000_000_000
COULD_NOT_PROXY = 97  # curl's exit status when the proxy says no
CURL = ("curl", "-q", "--silent", "--show-error", "--fail", "--noproxy", "", "--max-time", str(LIMIT))


def curl(*words: str, status: int = 0) -> Done:
    return run(*CURL, *words, status=status)


def through(server: Server, scheme: str = "socks5h", user: str = "") -> tuple[str, str]:
    return "--proxy", f"{scheme}://{user}{server.address}"


@pytest.mark.parametrize(
    ("scheme", "asked"), [("socks5", "127.0.0.1"), ("socks5h", "localhost")], ids=["socks5", "socks5h"]
)
def test_a_name_is_looked_up_where_the_scheme_says(server: Start, web: Web, scheme: str, asked: str) -> None:
    started = server()
    done = curl("--ipv4", *through(started, scheme), web.url("/bytes/1000", host="localhost"))
    assert done.out == origins.BLOCK[:1000]
    end = started.wait_for("end")
    assert (end["to"], end["addr"]) == (f"{asked}:{web.port}", f"127.0.0.1:{web.port}")
    assert (end["cmd"], end["reply"], end.get("user")) == ("connect", "0", None)


def test_a_target_that_is_not_there_is_refused_with_its_own_reply(server: Start) -> None:
    started = server()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # taken, and nobody listens
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        done = curl("-v", *through(started), url, status=COULD_NOT_PROXY)
    assert b"(5)" in done.err, done  # reply 05, connection refused
    assert started.wait_for("end", cause="refused")["reply"] == "5"


def test_a_client_that_speaks_http_is_told_what_this_port_is(server: Start) -> None:
    started = server()
    done = run(*CURL[:3], "--include", "--noproxy", "*", f"http://{started.address}/")
    head, _, text = done.out.partition(b"\r\n\r\n")
    assert head.splitlines()[0] == b"HTTP/1.1 400 Bad Request"
    assert b"speaks SOCKS, not HTTP" in text
    assert started.wait_for("end")["cause"] == "protocol-error"


def test_users_need_their_password(server: Start, web: Web, tmp_path: Path) -> None:
    users = tmp_path / "users"
    make_user(users, "alice", "correct horse")
    make_user(users, "bob", "p:@/%")
    started = server("--users", str(users))
    address = started.address
    url = web.url("/bytes/10")
    for name, password in (("alice", "correct horse"), ("bob", "p:@/%"), ("alice", "correct horse")):
        words = ("--proxy", f"socks5h://{address}", "--proxy-user", f"{name}:{password}")
        assert curl(*words, url).out == origins.BLOCK[:10]
        started.wait_for("end", user=name, reply=0)
    for name in ("alice", "mallory"):
        words = ("--proxy", f"socks5h://{address}", "--proxy-user", f"{name}:wrong horse")
        curl(*words, url, status=COULD_NOT_PROXY)
        started.wait_for("end", user=name, cause="auth-failed")
    curl("--proxy", f"socks5h://{address}", url, status=COULD_NOT_PROXY)
    started.wait_for("end", cause="no-method")
    assert web.requested["/bytes/10"] == 3
    assert not [line for line in started.log if "horse" in line]


def test_an_ipv6_target(server: Start) -> None:
    started = server()
    with origins.web(host="::1") as web:
        assert curl(*through(started), web.url("/bytes/10")).out == origins.BLOCK[:10]
        assert started.wait_for("end")["addr"] == f"[::1]:{web.port}"


def test_an_ipv6_listener_beside_an_ipv4_one(server: Start, web: Web) -> None:
    started = server(listen=("127.0.0.1:0", "[::1]:0"))
    for address, client in zip(started.addresses, ("127.0.0.1:", "[::1]:"), strict=True):
        done = curl("--proxy", f"socks5h://{address}", web.url("/bytes/10"))
        assert done.out == origins.BLOCK[:10]
        started.wait_for_log(rf" end .*client={client.replace('[', '.').replace(']', '.')}\d+ ")


def test_a_unix_socket(server: Start, web: Web, echo: Origin, tmp_path: Path) -> None:
    path = tmp_path / "socks"
    started = server(listen=(f"unix:{path}",))
    done = curl("--proxy", f"socks5h://localhost{path}", web.url("/bytes/1000"))
    assert done.out == origins.BLOCK[:1000]
    with Client(str(path)) as client:
        client.open(echo.host, echo.port)
        assert client.exchange(b"hello") == b"hello"
    assert started.wait_for("end", up=5)["client"] == "unix"
    started.stop()
    assert not path.exists()


@pytest.mark.parametrize("kind", ["splice", "copy"])
def test_a_gigabyte_down(server: Start, web: Web, kind: str) -> None:
    started = server("--relay", kind, "-vvv")
    words = [*CURL, *through(started), web.url(f"/bytes/{GIGABYTE}")]
    digest = hashlib.sha1(usedforsecurity=False)
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=environment()) as download:
        assert download.stdout
        while data := download.stdout.read(origins.CHUNK):
            digest.update(data)
    assert download.returncode == 0
    assert digest.hexdigest() == origins.pattern_digest(GIGABYTE)
    assert int(started.wait_for("end")["down"]) > GIGABYTE  # and the head of the answer
    assert bool(started.events("system", what="splice")) is (kind == "splice")


@pytest.mark.parametrize("kind", ["splice", "copy"])
def test_a_gigabyte_up(server: Start, web: Web, kind: str) -> None:
    started = server("--relay", kind, "-vvv")
    words = [*CURL, *through(started), "--upload-file", "-", web.url("/up")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as upload:
        assert upload.stdin
        assert upload.stdout
        with upload.stdin:
            for piece in origins.pattern(GIGABYTE):
                upload.stdin.write(piece)
        answer = upload.stdout.read().decode()
    assert upload.returncode == 0
    assert answer == web.digests["/up"] == origins.pattern_digest(GIGABYTE)
    assert int(started.wait_for("end")["up"]) > GIGABYTE
    assert bool(started.events("system", what="splice")) is (kind == "splice")


def test_two_hundred_at_once(server: Start, tmp_path: Path) -> None:
    together = threading.Barrier(200, timeout=LIMIT)

    def page(path: str) -> tuple[str, bytes]:
        together.wait()  # nobody is answered before all have come
        return "text/plain", path.encode()

    started = server()
    with origins.web(page) as web:
        curl(
            *through(started), "--parallel", "--parallel-immediate", "--parallel-max", "200",
            "--output", f"{tmp_path}/#1", web.url("/[1-200]"),
        )  # fmt: skip
        assert {(tmp_path / str(n)).read_text() for n in range(1, 201)} == {f"/{n}" for n in range(1, 201)}
        assert len(web.peers) == 200
    started.stop()
    assert len(started.events("end", reply=0)) == 200
