from __future__ import annotations

import pytest

from forksocks import __version__, banner
from forksocks.config.load import Flag, load, load_text
from forksocks.config.model import Config
from tests.access.fakes import routes

LAN = routes(attached="192.168.7.0/24")


def config(*addresses: str, **flags: str | bool) -> Config:
    given = {key.replace("__", "."): Flag(f"--{key}", value) for key, value in flags.items()}
    given["listen.bind"] = Flag("command line", [*addresses] or ["127.0.0.1:1080"])
    return load(None, given).config


def who(told: Config, in_container: bool = False) -> str:
    return banner.who(told, LAN, in_container)


def test_a_first_start_says_all_that_matters() -> None:
    text = banner.first_start(config(":1080"), ["0.0.0.0:1080", "[::]:1080"], LAN, in_container=False)
    assert text.splitlines() == [
        "listens 0.0.0.0:1080 [::]:1080",
        "serves  loopback and 192.168.7.0/24 (attached) (more: --users, --allow-from)",
        "reaches the public internet, nothing private (more: --allow-to)",
        "log     stderr: errors and refusals; -v adds sessions",
        "try     curl -x socks5h://127.0.0.1:1080 https://example.com/",
        "stop    Ctrl-C; tunnels may last 5m more, a second one ends them",
    ]


def test_the_line_to_paste_is_never_broken() -> None:
    told = config("unix:/run/" + "x" * 80, auth__users="/u")
    text = banner.first_start(told, ["unix:/run/" + "x" * 80], LAN, in_container=False)
    assert banner.curl("unix:/run/" + "x" * 80, told) in text


def test_who_may_use_it() -> None:
    assert who(config(auth__users="/u")) == "anyone with a name and password of /u"
    assert who(config(access__open_proxy=True)) == "anyone without a password (an open proxy)"
    assert who(config(access__allow_from="10.0.0.0/8,@any")) == "anyone"
    assert who(config(access__allow_from="10.0.0.0/8,@loopback")) == "10.0.0.0/8 and loopback"
    narrowed = who(config(auth__users="/u", access__allow_from="10.0.0.0/8"))
    assert narrowed == "10.0.0.0/8 with a name and password of /u"
    assert who(config(), in_container=True).startswith("loopback alone, since this is a container (more:")


def test_listeners_that_differ_are_told_apart() -> None:
    text = """
    listen = [
      { name = "lan", bind = ["127.0.0.1:1"], auth = ["none"] },
      { name = "out", bind = ["127.0.0.1:2"] },
    ]
    auth.users = "/u"
    """
    told = who(load_text(text).config)
    near = "loopback and 192.168.7.0/24 (attached)"
    assert told == f"on lan {near} without a password; on out anyone with a name and password of /u"


def test_a_listener_with_both_ways_says_whom_each_admits() -> None:
    text = 'listen = [{ bind = ["127.0.0.1:1"], auth = ["password", "none"] }]\nauth.users = "/u"'
    told = load_text(text).config
    near = "loopback and 192.168.7.0/24 (attached)"
    assert who(told) == f"anyone with a name and password of /u, {near} without a password"
    assert "-U" not in banner.curl("127.0.0.1:1", told)


def test_what_may_be_reached() -> None:
    told = banner.reach(config(access__allow_to="@private,192.0.2.7"))
    assert told == "the public internet and @private, 192.0.2.7/32"


@pytest.mark.parametrize(
    ("bound", "url"),
    [
        ("0.0.0.0:1080", "socks5h://127.0.0.1:1080"),
        ("[::]:1080", "socks5h://[::1]:1080"),
        ("192.0.2.1:99", "socks5h://192.0.2.1:99"),
        ("unix:/run/a b.sock", "socks5h://localhost/run/a%20b.sock"),
    ],
)
def test_the_line_to_try_it_with(bound: str, url: str) -> None:
    assert banner.curl(bound, config()) == f"curl -x {url} https://example.com/"
    with_users = banner.curl(bound, config(auth__users="/u"))
    assert with_users == f"curl -U user:password -x {url} https://example.com/"


def test_versions_are_told_with_what_the_machine_offers() -> None:
    name, python, paths, layers = banner.version().splitlines()
    assert name == f"forksocks {__version__}"
    assert python.startswith("Python 3.")
    assert "TCP_DEFER_ACCEPT" in paths
    assert "Landlock" in layers
