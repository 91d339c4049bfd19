from __future__ import annotations

import pytest

from forksocks.config.load import load_text
from forksocks.config.problems import ConfigError


def test_http_is_one_address() -> None:
    http = load_text('[admin]\nhttp = "127.0.0.1:9180"').config.admin.http
    assert str(http) == "127.0.0.1:9180"
    assert load_text("").config.admin.http is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('http = ":9180"', "name one address and its port"),
        ('http = "unix:/x"', "name one address and its port"),
        ('http = "192.0.2.1:9180"', "nobody has to log in: say http_open"),
        ('http = "0.0.0.0:9180"', "nobody has to log in: say http_open"),
        ("http_open = true", "has no effect without http"),
    ],
)
def test_what_http_must_not_be(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_text(f"[admin]\n{text}")


def test_an_open_address_is_said_twice() -> None:
    admin = load_text('[admin]\nhttp = "0.0.0.0:9180"\nhttp_open = true').config.admin
    assert (str(admin.http), admin.http_open) == ("0.0.0.0:9180", True)
