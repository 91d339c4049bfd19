"""`forksocksctl status` and `show` against a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import ctl, make_user, objects, run
from tests.system.server import ROOT, Server, running

CONFIG = """
[server]
workers = 2
threads = 50
[[listen]]
name = "lan"
bind = ["127.0.0.1:0", "[::1]:0"]
[access]
allow_to = ["@loopback"]
[auth]
users = "{folder}/users"
[admin]
socket = "{folder}/admin.sock"
"""


def started(server: Start, folder: Path) -> Server:
    make_user(folder / "users", "alice", "secret")
    make_user(folder / "users", "bob", "secret")
    return server(config=CONFIG.format(folder=folder))


def test_status_for_people_and_for_programs(server: Start, echo: Origin, tmp_path: Path) -> None:
    served = started(server, tmp_path)
    with Client(served.endpoint) as client:
        client.open(echo.host, echo.port, b"alice", b"secret")
        client.exchange(b"hello")
        text = ctl(tmp_path, "status").out.decode()
        found = json.loads(ctl(tmp_path, "status", "--json").out)
    assert re.search(r"^forksocks +\S+, running, up \S+, supervisor \d+, generation 1$", text, re.M)
    assert re.search(r"^sessions +1 open: 1 tunnel$", text, re.M)
    assert re.search(r"^lan +1 +1 +5 B +5 B +127\.0\.0\.1:\d+ \[::1\]:\d+$", text, re.M)
    assert len(re.findall(r"^ +[12] .* 50 .* serving$", text, re.M)) == 2
    assert found["pid"] == served.supervisor
    assert {worker["pid"] for worker in found["workers"]} == set(served.workers)
    assert (found["totals"]["up"], found["totals"]["logins"]) == (5, {"none": 0, "password": 1, "gssapi": 0})


def test_show_tunnels_with_filters(server: Start, echo: Origin, tmp_path: Path) -> None:
    served = started(server, tmp_path)
    with Client(served.endpoint) as alice, Client(served.endpoint) as bob:
        alice.open("localhost", echo.port, b"alice", b"secret")
        bob.open(echo.host, echo.port, b"bob", b"secret")
        text = ctl(tmp_path, "show", "tunnels").out.decode()
        (found,) = objects(tmp_path, "show", "tunnels", "user=alice")
        host, port = alice.sock.getsockname()
        assert (found["client"], found["state"]) == (f"{host}:{port}", "tunnel")
        assert (found["to"], found["addr"]) == (f"localhost:{echo.port}", "127.0.0.1")
        assert ctl(tmp_path, "show", "tunnels", "user=mallory", "--json").out == b""
        assert ctl(tmp_path, "show", "listeners", "listener=lan").out.count(b"\n") == 2
    assert len(text.splitlines()) == 3
    assert "alice" in text
    refused = ctl(tmp_path, "show", "tunnels", "colour=red", status=1)
    assert b"colour" in refused.err
    assert b"FIELD=VALUE" in ctl(tmp_path, "show", "tunnels", "red", status=2).err


def test_without_a_server_the_exit_status_is_3(tmp_path: Path) -> None:
    for words in (("status",), ("status", "--json"), ("show", "workers")):
        assert b"no server answers" in ctl(tmp_path, *words, status=3).err


def test_the_socket_is_private_and_goes_with_the_server(server: Start, tmp_path: Path) -> None:
    served = started(server, tmp_path)
    path = tmp_path / "admin.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    served.stop()
    assert not path.exists()


def test_a_socket_that_a_killed_server_left_is_taken_over_and_a_living_one_is_not(
    server: Start, tmp_path: Path
) -> None:
    make_user(tmp_path / "users", "alice", "secret")
    config = tmp_path / "first.toml"
    config.write_text(CONFIG.format(folder=tmp_path))

    def live_and_die() -> None:
        with running(config=config) as first:
            second = run(sys.executable, "-m", "forksocks", "-c", str(config), status=1, cwd=ROOT)
            assert b"admin.sock for forksocksctl: in use by another server" in second.err
            os.kill(first.supervisor, signal.SIGKILL)

    with pytest.raises(AssertionError, match="exit status"):
        live_and_die()
    assert (tmp_path / "admin.sock").exists()
    again = started(server, tmp_path)
    assert json.loads(ctl(tmp_path, "status", "--json").out)["pid"] == again.supervisor


def test_a_reload_keeps_the_socket_and_the_totals(server: Start, echo: Origin, tmp_path: Path) -> None:
    served = started(server, tmp_path)
    with Client(served.endpoint) as client:
        client.open(echo.host, echo.port, b"alice", b"secret")
        client.exchange(b"hello")
        served.send_signal(signal.SIGHUP)
        served.wait_for("reloaded")
        status = json.loads(ctl(tmp_path, "status", "--json").out)
        assert (status["generation"], status["totals"]["up"], status["sessions"]["open"]) == (2, 5, 1)
        draining = [worker for worker in status["workers"] if worker["draining"]]
        assert {worker["generation"] for worker in draining} == {1}
        client.exchange(b"hello")
        assert json.loads(ctl(tmp_path, "status", "--json").out)["totals"]["up"] == 10
    assert eventually(lambda: len(json.loads(ctl(tmp_path, "status", "--json").out)["workers"]) == 2)
    status = json.loads(ctl(tmp_path, "status", "--json").out)
    assert (status["totals"]["up"], status["totals"]["ends"]) == (10, {"client-closed": 1})


def test_a_worker_that_was_added_and_a_new_program_are_seen(
    server: Start, echo: Origin, tmp_path: Path
) -> None:
    served = started(server, tmp_path)

    def status() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(ctl(tmp_path, "status", "--json").out)
        return found

    served.send_signal(signal.SIGTTIN)
    assert eventually(lambda: len(status()["workers"]) == 3)
    assert not served.events("child-died"), "the admin process was renewed, which is nobody's death"
    with Client(served.endpoint) as client:
        client.open(echo.host, echo.port, b"alice", b"secret")
        served.send_signal(signal.SIGUSR2)
        new = int(served.wait_for("took-over")["pid"])
        try:
            assert eventually(lambda: status()["pid"] == new), "the old one does not answer for it"
            assert client.exchange(b"hello") == b"hello"
        finally:
            os.kill(new, signal.SIGTERM)
    assert eventually(lambda: not served.left())
    assert not (tmp_path / "admin.sock").exists()


def test_no_two_sessions_have_the_same_id(server: Start, echo: Origin, tmp_path: Path) -> None:
    """After a reload, and after a worker's death: the scoreboard, the log and the last words say the same."""
    make_user(tmp_path / "users", "alice", "secret")
    make_user(tmp_path / "users", "bob", "secret")
    served = server("-v", config=CONFIG.format(folder=tmp_path))

    def ids() -> dict[str, str]:
        return {each["user"]: each["id"] for each in objects(tmp_path, "show", "tunnels")}

    with Client(served.endpoint) as alice, Client(served.endpoint) as bob:
        alice.open(echo.host, echo.port, b"alice", b"secret")
        served.send_signal(signal.SIGHUP)
        served.wait_for("reloaded")
        bob.open(echo.host, echo.port, b"bob", b"secret")
        before = ids()
        killed = list(processes.workers(served.supervisor).values())
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        for worker in killed:  # one that is not dead yet would take the next client along
            served.wait_for("child-died", pid=worker)
        assert eventually(lambda: len(served.events("end")) == 2)
        with Client(served.endpoint) as again:
            again.open(echo.host, echo.port, b"alice", b"secret")
            after = ids()
    ends = served.events("end")
    assert {end["user"]: end["id"] for end in ends} == before
    assert len({*before.values(), *after.values()}) == 3
