"""Python's SOCKS clients through a real server: names left to it, passwords, IPv6, refusals, version 4a."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import http.client
import socket
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import aiohttp
import aiohttp_socks
import httpx
import pytest
import python_socks.sync
import requests
import socks

from tests.system import origins
from tests.system.conftest import Start
from tests.system.origins import Web
from tests.system.programs import make_user
from tests.system.server import Server, endpoint

NAME, PASSWORD = "alice", "p:@/% word"  # with what has to be quoted in a URL
SIZE = 2_000_000
PATIENCE = 60.0


class Proxy(NamedTuple):
    """Where the proxy is, and who uses it."""

    address: str
    name: str | None = None
    password: str | None = None
    version: int = 5

    @property
    def url(self) -> str:
        user = "" if self.name is None else f"{quote(self.name, '')}:{quote(self.password or '', '')}@"
        return f"{'socks5h' if self.version == 5 else 'socks4a'}://{user}{self.address}"

    @property
    def kind(self) -> python_socks.ProxyType:
        return python_socks.ProxyType.SOCKS5 if self.version == 5 else python_socks.ProxyType.SOCKS4


def pysocks(proxy: Proxy, url: str) -> bytes:
    host, port = endpoint(proxy.address)
    with socks.socksocket(socket.AF_INET) as sock:
        kind = socks.SOCKS5 if proxy.version == 5 else socks.SOCKS4
        sock.set_proxy(kind, host, port, rdns=True, username=proxy.name, password=proxy.password)
        sock.settimeout(PATIENCE)
        return get(sock, url)


def python_socks_sync(proxy: Proxy, url: str) -> bytes:
    where = urlsplit(url)
    host, port = endpoint(proxy.address)
    client = python_socks.sync.Proxy(proxy.kind, host, port, proxy.name, proxy.password, rdns=True)
    assert where.hostname
    assert where.port
    with contextlib.closing(client.connect(where.hostname, where.port, timeout=PATIENCE)) as sock:
        return get(sock, url, connected=True)


def get(sock: socket.socket, url: str, connected: bool = False) -> bytes:
    """Ask for a page over a socket that is, or can be, connected through a proxy."""
    where = urlsplit(url)
    if not connected:
        sock.connect((where.hostname, where.port))
    web = http.client.HTTPConnection(where.netloc)
    web.sock = sock
    web.request("GET", where.path)
    return web.getresponse().read()


def with_requests(proxy: Proxy, url: str) -> bytes:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(url, proxies={"http": proxy.url}, timeout=PATIENCE).content


def with_httpx(proxy: Proxy, url: str) -> bytes:
    # httpcore leaves the socket of a refused connection to the garbage collector: let that find it here.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        try:
            with httpx.Client(proxy=proxy.url, trust_env=False, timeout=PATIENCE) as client:
                return client.get(url).content
        except httpx.ProxyError as error:
            told = str(error)
        gc.collect()
    raise httpx.ProxyError(told)


def with_aiohttp(proxy: Proxy, url: str) -> bytes:
    async def fetch() -> bytes:
        host, port = endpoint(proxy.address)
        connector = aiohttp_socks.ProxyConnector(
            proxy_type=proxy.kind, host=host, port=port, username=proxy.name,
            password=proxy.password, rdns=True,
        )  # fmt: skip
        limit = aiohttp.ClientTimeout(total=PATIENCE)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit) as session,
            session.get(url) as answer,
        ):
            return await answer.read()

    return asyncio.run(fetch())


class Client(NamedTuple):
    """A client, its error, and the words of that for a wrong password and for reply 05."""

    fetch: Callable[[Proxy, str], bytes]
    error: type[Exception]
    wrong_password: str
    refused: str


CLIENTS = {
    "PySocks": Client(pysocks, socks.ProxyError, "SOCKS5 authentication failed", "0x05: Connection refused"),
    "python-socks": Client(
        python_socks_sync, python_socks.ProxyError, "authentication failure", "Connection refused"
    ),
    "requests": Client(
        with_requests, requests.ConnectionError, "SOCKS5 authentication failed", "0x05: Connection refused"
    ),
    "aiohttp-socks": Client(
        with_aiohttp, aiohttp_socks.ProxyError, "authentication failure", "Connection refused"
    ),
    "httpx": Client(with_httpx, httpx.ProxyError, "Invalid username/password", "Connection refused"),
}

each_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


@pytest.fixture
def guarded(server: Start, tmp_path: Path) -> Server:
    """A server that wants a name and a password."""
    make_user(tmp_path / "users", NAME, PASSWORD)
    return server("--users", str(tmp_path / "users"))


@each_client
def test_a_name_and_a_password(guarded: Server, web: Web, client: Client) -> None:
    url = web.url(f"/bytes/{SIZE}", host="localhost")
    with pytest.raises(client.error, match=client.wrong_password):
        client.fetch(Proxy(guarded.address, NAME, "wrong"), url)
    guarded.wait_for("end", user=NAME, cause="auth-failed")
    with pytest.raises(client.error):
        client.fetch(Proxy(guarded.address), url)
    guarded.wait_for("end", cause="no-method")
    assert not web.peers
    assert client.fetch(Proxy(guarded.address, NAME, PASSWORD), url) == b"".join(origins.pattern(SIZE))
    end = guarded.wait_for("end", user=NAME, reply=0)
    assert (end["to"], end["addr"]) == (f"localhost:{web.port}", f"127.0.0.1:{web.port}")


@each_client
def test_an_ipv6_target_and_one_that_is_not_there(server: Start, client: Client) -> None:
    started = server()
    with origins.web(host="::1") as web:
        assert client.fetch(Proxy(started.address), web.url("/bytes/1000")) == origins.BLOCK[:1000]
    assert started.wait_for("end", reply=0)["to"] == f"[::1]:{web.port}"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # taken, and nobody listens
        with pytest.raises(client.error, match=client.refused):
            client.fetch(Proxy(started.address), f"http://127.0.0.1:{silent.getsockname()[1]}/")
    started.wait_for("end", cause="refused", reply=5)


@pytest.mark.parametrize("name", [name for name in CLIENTS if name != "httpx"])  # that knows version 5 alone
def test_version_4a(server: Start, web: Web, name: str) -> None:
    started = server()
    url = web.url("/bytes/1000", host="localhost")
    assert CLIENTS[name].fetch(Proxy(started.address, version=4), url) == origins.BLOCK[:1000]
    assert started.wait_for("end", socks=4, reply=0)["to"] == f"localhost:{web.port}"
