"""Clients of other languages, and programs that take others through a proxy, against a real server.

Each with version 5, a name that the server looks up, a right and a wrong password; and with version 4 or 4a.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.system import origins
from tests.system.conftest import Start
from tests.system.origins import Web
from tests.system.programs import Done, make_user, run
from tests.system.server import endpoint

SCRIPTS = Path(__file__).parent / "clients"
NAME, PASSWORD = "alice", "p@/%word"
SIZE = 300_000
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
[[listen]]
name = "four"
bind = ["127.0.0.1:0"]
auth = ["none"]
"""


class Errand(NamedTuple):
    """What a client is to do: fetch `path` from host:port through the proxy."""

    version: int
    proxy: tuple[str, int]
    password: str
    host: str
    port: int
    path: str
    folder: Path

    @property
    def words(self) -> list[str]:
        return [
            str(self.version), self.proxy[0], str(self.proxy[1]), NAME, self.password, self.host,
            str(self.port), self.path,
        ]  # fmt: skip

    @property
    def request(self) -> bytes:
        return f"GET {self.path} HTTP/1.0\r\n\r\n".encode()


def perl(errand: Errand) -> Done:
    return run("perl", str(SCRIPTS / "socks.pl"), *errand.words, status=None)


def node(errand: Errand) -> Done:
    # Where Debian puts modules; its own node looks there, others have to be told.
    modules = {"NODE_PATH": "/usr/share/nodejs"}
    return run("node", str(SCRIPTS / "socks.js"), *errand.words, status=None, extra=modules)


def java(errand: Errand) -> Done:
    small = ("-Xshare:auto", "-XX:TieredStopAtLevel=1", "-Xmx64m")
    return run("java", *small, str(SCRIPTS / "Socks.java"), *errand.words, status=None)


def ncat(errand: Errand) -> Done:
    host, port = errand.proxy
    login = ("--proxy-auth", f"{NAME}:{errand.password}") if errand.version == 5 else ()
    return run(
        "ncat", "--proxy", f"{host}:{port}", "--proxy-type", f"socks{errand.version}", *login,
        "--proxy-dns", "remote", errand.host, str(errand.port), text=errand.request, status=None,
    )  # fmt: skip


def proxychains(errand: Errand) -> Done:
    """It makes a program that knows no proxies use one: here curl, which is told to use none."""
    host, port = errand.proxy
    login = f" {NAME} {errand.password}" if errand.version == 5 else ""
    file = errand.folder / "proxychains.conf"
    file.write_text(f"strict_chain\nproxy_dns\n[ProxyList]\nsocks{errand.version} {host} {port}{login}\n")
    url = f"http://{errand.host}:{errand.port}{errand.path}"
    return run(
        "proxychains4", "-q", "-f", str(file), "curl", "-q", "--silent", "--include", "--noproxy", "*", url,
        status=None,
    )  # fmt: skip


Client = Callable[[Errand], Done]
CLIENTS: Sequence[Client] = (perl, node, java, ncat, proxychains)
# Java has no version 4a; and curl below proxychains knows what localhost is.
LOOK_UP_THEMSELVES = {(java, 4), (proxychains, 4), (proxychains, 5)}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_of_versions_5_and_4(server: Start, web: Web, tmp_path: Path, client: Client) -> None:
    make_user(tmp_path / "users", NAME, PASSWORD)
    started = server(config=CONFIG)
    five, four = map(endpoint, started.addresses)
    right = Errand(5, five, PASSWORD, "localhost", web.port, f"/bytes/{SIZE}", tmp_path)

    done = client(right._replace(password="wrong"))
    assert done.out == b"", done
    started.wait_for("end", listen="five", user=NAME, cause="auth-failed")
    assert not web.peers

    for errand, listener in ((right, "five"), (right._replace(version=4, proxy=four), "four")):
        done = client(errand)
        assert done.status == 0, done
        assert done.out.partition(b"\r\n\r\n")[2] == b"".join(origins.pattern(SIZE)), done
        end = started.wait_for("end", listen=listener, cmd="connect", reply=0)
        assert end.get("user") == (NAME if listener == "five" else None)
        name = "127.0.0.1" if (client, errand.version) in LOOK_UP_THEMSELVES else "localhost"
        assert end["to"] == f"{name}:{web.port}"
