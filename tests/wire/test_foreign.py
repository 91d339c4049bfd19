from __future__ import annotations

import pytest

from forksocks.wire import foreign, socks4, socks5


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]
)
def test_http(method: str) -> None:
    assert foreign.language(ord(method[0])) == "HTTP"


def test_tls() -> None:
    assert foreign.language(0x16) == "TLS"


@pytest.mark.parametrize("first", [0, socks4.VERSION, socks5.VERSION, ord("S"), 255])
def test_what_could_be_anything(first: int) -> None:
    assert foreign.language(first) is None
