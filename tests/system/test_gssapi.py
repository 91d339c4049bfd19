"""GSSAPI (RFC 1961) with a real Kerberos realm: curl, and a client that protects what it sends."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from tests.system import origins
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.gssapi_client import (
    AUTHENTICATION,
    CONFIDENTIALITY,
    DATA,
    GSSAPI,
    INTEGRITY,
    NONE,
    SELECTIVE,
    Aborted,
    KerberosClient,
)
from tests.system.kerberos import REALM, SECURE, Realm, configuration
from tests.system.origins import Origin, Web
from tests.system.programs import Done, run
from tests.system.server import ROOT, Server

COULD_NOT_PROXY = 97


def curl(
    server: Server,
    url: str,
    realm: Realm,
    nec: bool = False,
    service: str = "rcmd",
    status: int = 0,
    **extra: str,
) -> Done:
    words = (url, str(server.port), str(int(nec)), service)
    environment = {**realm.extra, **extra}
    return run(
        sys.executable, "-m", "tests.system.kerberos_curl", *words, cwd=ROOT, status=status, extra=environment
    )


@pytest.mark.parametrize("nec", [False, True])
@pytest.mark.parametrize("service", ["rcmd", "socks"])
def test_curl(server: Start, web: Web, realm: Realm, keytab: Path, nec: bool, service: str) -> None:
    more = f'realms = ["{REALM}"]'
    started = server(config=configuration(keytab, '"none"', more=more))
    done = curl(started, web.url("/bytes/100000"), realm, nec, service)
    assert done.out == origins.BLOCK[:100000]
    assert started.wait_for("end", reply=0)["user"] == "alice"


def test_without_a_ticket(server: Start, web: Web, realm: Realm, keytab: Path, tmp_path: Path) -> None:
    started = server(config=configuration(keytab, '"none"'))
    curl(started, web.url("/bytes/1"), realm, status=COULD_NOT_PROXY, KRB5CCNAME=f"FILE:{tmp_path}/none")
    assert not web.requested


@pytest.mark.parametrize("level", [INTEGRITY, CONFIDENTIALITY, SELECTIVE])
def test_protected_tunnels(server: Start, echo: Origin, keytab: Path, level: int) -> None:
    started = server(config=configuration(keytab))
    with KerberosClient(started.endpoint) as client:
        client.log_in(level)
        client.open(echo.host, echo.port)
        for data in (b"x", b"hello", os.urandom(70_000)):
            client.write(data)
            assert client.exactly(len(data)) == data
        client.sock.shutdown(socket.SHUT_WR)
        assert client.until_end() == b""
    end = started.wait_for("end", cause="client-closed")
    assert (end["user"], end["up"], end["down"]) == (f"alice@{REALM}", "70006", "70006")
    assert started.events(
        "authenticated", protection=["", "integrity", "confidentiality", "selective"][level]
    )


def test_much_data_both_ways_and_a_half_close(server: Start, keytab: Path) -> None:
    up, down = os.urandom(3_000_000), os.urandom(4_000_000)
    got: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        def send() -> None:
            sock.sendall(down)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        data = b""
        while piece := sock.recv(1 << 16):
            data += piece
        got.append(data)
        sender.join()

    started = server(config=configuration(keytab))
    with origins.serving(serve) as origin, KerberosClient(started.endpoint) as client:
        client.log_in(CONFIDENTIALITY)
        client.open(origin.host, origin.port)
        # One after the other: the test's own context is not for two threads.
        client.write(up)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.until_end() == down
        started.wait_for("end", up=len(up), down=len(down))
    assert got == [up]


def test_nobody_on_the_way_can_read_it(server: Start, echo: Origin, keytab: Path) -> None:
    started = server(config=configuration(keytab))
    with KerberosClient(started.endpoint) as client:
        client.log_in(CONFIDENTIALITY)
        client.open(echo.host, echo.port)
        client.write(b"canary")
        token = client.read(DATA)
        assert b"canary" not in token
        assert client.context.unwrap(token).message == b"canary"


@pytest.mark.parametrize(
    ("protection", "asked", "granted"),
    [
        ('"integrity"', SELECTIVE, INTEGRITY),
        ('"confidentiality"', SELECTIVE, CONFIDENTIALITY),
        ('"confidentiality"', INTEGRITY, CONFIDENTIALITY),
        ('"none", "integrity"', NONE, NONE),
        ('"integrity"', CONFIDENTIALITY, None),
        (SECURE, NONE, None),
        ('"none"', INTEGRITY, NONE),
        ('"none"', CONFIDENTIALITY, NONE),
        ('"none", "confidentiality"', CONFIDENTIALITY, CONFIDENTIALITY),
        (SECURE, 7, None),
    ],
)
def test_levels(
    server: Start, echo: Origin, keytab: Path, protection: str, asked: int, granted: int | None
) -> None:
    started = server(config=configuration(keytab, protection))
    with KerberosClient(started.endpoint) as client:
        client.establish()
        if granted is None:
            with pytest.raises(Aborted):
                client.agree(asked)
            assert client.plain.until_end() == b""
            started.wait_for("end", cause="no-method")
            return
        assert client.agree(asked) == granted
        client.open(echo.host, echo.port)
        client.write(b"hello")
        assert client.exactly(5) == b"hello"


def test_a_level_that_is_not_signed_is_for_those_who_allow_none(server: Start, keytab: Path) -> None:
    started = server(config=configuration(keytab))
    with KerberosClient(started.endpoint) as client:
        client.establish()
        with pytest.raises(Aborted):
            client.agree(INTEGRITY, bare=True)
    started.wait_for("end", cause="auth-failed")


def test_a_token_cannot_be_used_again(server: Start, keytab: Path) -> None:
    started = server(config=configuration(keytab, '"none"'))
    with KerberosClient(started.endpoint) as client:
        client.log_in(NONE)
        overheard = client.token
    for _ in range(3):
        with KerberosClient(started.endpoint) as eavesdropper:
            assert eavesdropper.plain.greet(GSSAPI) == GSSAPI
            eavesdropper.send(AUTHENTICATION, overheard)
            with pytest.raises(Aborted):
                eavesdropper.read(AUTHENTICATION)
    started.wait_for("end", cause="auth-failed", hint="a token that was used before")


@pytest.mark.parametrize("token", [b"", b"\0", b"\x60\x03abc", b"x" * 65535], ids=len)
def test_what_is_no_token_is_refused(server: Start, keytab: Path, token: bytes) -> None:
    started = server(config=configuration(keytab))
    with KerberosClient(started.endpoint) as client:
        assert client.plain.greet(GSSAPI) == GSSAPI
        client.send(AUTHENTICATION, token)
        with pytest.raises(Aborted):
            client.read(AUTHENTICATION)
    started.wait_for("end", cause="auth-failed")
    started.wait_for("auth-failed", reason="gssapi")


@pytest.mark.parametrize("how", ["changed", "plain", "unencrypted", "cut"])
def test_what_was_meddled_with_ends_the_tunnel(server: Start, keytab: Path, how: str) -> None:
    arrived: list[bytes] = []
    started = server(config=configuration(keytab))
    with (
        origins.serving(lambda sock: arrived.append(sock.recv(100))) as origin,
        KerberosClient(started.endpoint) as client,
    ):
        client.log_in(CONFIDENTIALITY)
        client.open(origin.host, origin.port)
        token = bytearray(client.context.wrap(b"x" * 100, how != "unencrypted").message)
        if how == "changed":
            token[-1] ^= 1
        if how == "plain":
            client.sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        elif how == "cut":
            client.sock.sendall(b"\x01\x03\x00\xff" + token[:20])
            client.sock.shutdown(socket.SHUT_WR)
        else:
            client.send(DATA, bytes(token))
        started.wait_for("end", cause="client-reset")
    assert not any(arrived)


def test_the_keytab_is_for_root_and_the_sandbox_holds(server: Start, echo: Origin, keytab: Path) -> None:
    """Workers have no file, no keytab and another user; the context comes to them from the lookup agent."""
    flags = ("--user", "nobody") if os.geteuid() == 0 else ()
    started = server("--sandbox", "auto", *flags, config=configuration(keytab))
    with KerberosClient(started.endpoint) as client:
        client.log_in(CONFIDENTIALITY)
        client.open(echo.host, echo.port)
        client.write(b"hello")
        assert client.exactly(5) == b"hello"
    started.wait_for("end", cause="client-closed")


def test_the_listener_prefers(server: Start, keytab: Path) -> None:
    started = server(config=configuration(keytab, auth='["gssapi", "none"]'))
    for offered, picked in (((0, 1), 1), ((0,), 0), ((2,), 0xFF)):
        with Client(started.endpoint) as client:
            assert client.greet(*offered) == picked


@pytest.mark.parametrize("end", [0, -1], ids=["is none", "is cut"])
def test_a_keytab_that_is_damaged_keeps_the_server_from_starting(
    keytab: Path, tmp_path: Path, end: int
) -> None:
    bad = tmp_path / "keytab"
    bad.write_bytes(keytab.read_bytes()[:end] or b"no keytab")
    config = tmp_path / "f.toml"
    config.write_text(configuration(bad))
    done = run(sys.executable, "-m", "forksocks", "-c", str(config), cwd=ROOT, status=2)
    assert (b"is damaged" if end else b"cannot be read as a keytab") in done.err
    assert b"Traceback" not in done.err
