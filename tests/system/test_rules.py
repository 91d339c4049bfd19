"""The rules of a file in a running server."""

from __future__ import annotations

from pathlib import Path

import pytest

from forksocks.access.hashes import Parameters, hashed
from tests.system import client as wire
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.server import DEFAULTS, Server

CONFIG = f"""
[server]
workers = {DEFAULTS["--workers"]}
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[log]
level = "info"
[[rule]]
name = "quiet"
to = ["127.0.0.2"]
action = "drop"
[[rule]]
name = "watched"
to = ["localhost"]
action = "report"
[[rule]]
name = "shut"
to = [".shut.example", "127.0.0.4"]
action = "deny"
[[rule]]
name = "local"
to = ["127.0.0.1", "10.0.0.0/8"]
action = "allow"
"""


@pytest.fixture
def started(server: Start) -> Server:
    return server(config=CONFIG)


def ask(started: Server, host: str | bytes, port: int) -> int:
    with Client(started.endpoint) as client:
        client.greet()
        return client.request(host, port).code


def test_what_a_rule_allows_is_served_and_named(started: Server, echo: Origin) -> None:
    with Client(started.endpoint) as client:
        client.open("127.0.0.1", echo.port)
        assert client.exchange(b"hello") == b"hello"
    started.wait_for("end", rule="local", cause="client-closed")


def test_what_a_rule_denies_is_answered(started: Server, echo: Origin) -> None:
    assert ask(started, "127.0.0.4", echo.port) == 2
    assert started.wait_for("end", cause="denied")["rule"] == "shut"
    assert echo.peers == []


def test_a_name_that_a_rule_denies_is_not_looked_up(started: Server) -> None:
    assert ask(started, b"www.Shut.example.", 80) == 2
    end = started.wait_for("end", cause="denied")
    assert (end["rule"], end["hint"], end["to"]) == ("shut", "rule shut", "www.shut.example:80")
    assert "resolve" not in end


def test_what_no_rule_allows_is_denied(started: Server, echo: Origin) -> None:
    assert ask(started, "127.0.0.9", echo.port) == 2
    end = started.wait_for("end", cause="denied")
    assert (end.get("rule"), end["hint"]) == (None, "no rule allows it")


def test_what_a_rule_drops_is_closed_without_a_word(started: Server, echo: Origin) -> None:
    with Client(started.endpoint) as client:
        client.greet()
        client.sock.sendall(wire.request("127.0.0.2", echo.port))
        assert client.until_end() == b""
    end = started.wait_for("end", cause="denied")
    assert (end["rule"], end.get("reply")) == ("quiet", None)


def test_what_a_rule_reports_is_allowed_and_logged(started: Server, echo: Origin) -> None:
    with Client(started.endpoint) as client:
        client.open("localhost", echo.port)
        assert client.exchange(b"hello") == b"hello"
    assert started.wait_for("would-deny")["rule"] == "watched"
    started.wait_for("end", rule="watched", cause="client-closed")


def test_what_a_rule_allows_the_guard_may_still_refuse(started: Server) -> None:
    assert ask(started, "10.1.2.3", 80) == 2
    end = started.wait_for("end", cause="denied")
    assert (end["rule"], end["hint"]) == ("local", "--allow-to @private")


BY_GROUP = f"""
[server]
workers = {DEFAULTS["--workers"]}
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[auth]
users = "users"
[log]
level = "info"
[[rule]]
name = "staff"
groups = ["staff"]
action = "allow"
"""


def test_a_rule_for_a_group_is_for_whom_the_users_file_has_in_it(
    server: Start, echo: Origin, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    line = hashed(b"secret", Parameters(memory=8, passes=1, lanes=1))

    def write(groups_of_alice: bytes) -> None:
        new = users.with_name("new")
        new.write_bytes(b"alice:%b%b\nbob:%b:staff\n" % (line, groups_of_alice, line))
        new.chmod(0o600)
        new.rename(users)

    def asks(user: bytes) -> int:
        with Client(running.endpoint) as client:
            client.greet(2)
            assert client.authenticate(user, b"secret") == 0
            return client.request(echo.host, echo.port).code

    write(b":guests")
    running = server(config=BY_GROUP.replace('"users"', f'"{users}"'))
    for _ in range(2):  # as the agent says it, and as the worker remembers it
        assert asks(b"alice") == 2
        assert asks(b"bob") == 0
    write(b":guests,staff")
    running.wait_for("users-read")
    assert asks(b"alice") == 0
