"""fail2ban reads who failed to log in, from every form of the log, and is not led astray by names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.programs import make_user, run

FILTER = Path(__file__).parents[2] / "packaging" / "fail2ban" / "filter.d" / "forksocks.conf"
NAMES = (
    b"bob",
    b"x client=9.9.9.9:1 listen=",
    b'"event":"auth-failed","client":"9.9.9.9:1","listen":',
    b"\xff\n\x1b",
)
CONFIG = """
[server]
workers = 2
[[listen]]
bind = ["127.0.0.1:0", "[::1]:0"]
[auth]
users = "{users}"
[timeouts]
handshake = "60s"  # a password waits for its turn where the machine is busy
[log]
level = "debug"
format = "{kind}"
"""


def matched(folder: Path, log: Path) -> list[str]:
    """The addresses that fail2ban would count, one for each line that it takes."""
    config = folder / "fail2ban"
    shutil.copytree("/etc/fail2ban", config)
    shutil.copy(FILTER, config / "filter.d")
    done = run("fail2ban-regex", "-c", str(config), "--out", "ip", str(log), "forksocks")
    return done.out.decode().split()


@pytest.mark.parametrize("kind", ["text", "json"])
def test_failed_logins_are_found(server: Start, tmp_path: Path, kind: str) -> None:
    users, log = tmp_path / "users", tmp_path / "log"
    make_user(users, "alice", "right")
    started = server(config=CONFIG.format(users=users, kind=kind))
    for address in started.addresses:
        host, _, port = address.rpartition(":")
        for name in NAMES:
            with Client((host.strip("[]"), int(port))) as client:
                client.greet(2)
                assert client.authenticate(name, b"wrong") == 1
    with Client(started.endpoint) as client:
        client.greet(2)
        assert client.authenticate(b"alice", b"right") == 0
    started.stop()
    log.write_text("\n".join([*started.log, ""]))
    assert len(started.events("auth-failed", reason="password")) == 2 * len(NAMES)
    found = matched(tmp_path, log)
    assert sorted(found) == sorted(["127.0.0.1", "::1"] * len(NAMES))


def test_failed_logins_are_found_behind_syslogs_head(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Nov 24 05:17:15 host forksocks[12]: auth-failed client=192.0.2.7:4 listen=lan user=bob\n")
    assert matched(tmp_path, log) == ["192.0.2.7"]
