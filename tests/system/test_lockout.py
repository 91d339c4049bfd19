"""Guessing passwords bans, over all workers and over a reload, and nobody who is known is locked out."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tests.system.client import PASSWORD, Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import ctl, make_user, objects, run
from tests.system.server import ROOT, Server

CONFIG = """
[server]
workers = 2
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[auth]
users = "users"
lockout = { failures = 3, window = "1h", ban = "1h" }
[log]
level = "info"
"""


def login(started: Server, user: bytes, password: bytes) -> int:
    with Client(started.endpoint) as client:
        assert client.greet(PASSWORD) == PASSWORD
        return client.authenticate(user, password)


def test_guesses_ban_over_workers_and_reloads(server: Start, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "alice", "right")
    started = server(config=CONFIG)
    assert [login(started, b"alice", b"wrong") for _ in range(3)] == [1, 1, 1]
    banned = {
        line["what"]: line for line in (started.wait_for("banned", what=w) for w in ("network", "user"))
    }
    assert banned["network"]["client"] == "127.0.0.1"
    assert banned["user"]["user"] == "alice"
    for _ in range(4):
        assert login(started, b"alice", b"right") == 1
    assert started.wait_for("auth-failed", reason="banned")["user"] == "alice"
    assert started.wait_for("end", cause="banned")["hint"].startswith("for 3")
    assert eventually(lambda: len(started.events("end", cause="banned")) == 4)
    started.send_signal(signal.SIGHUP)
    started.wait_for("reloaded")
    assert login(started, b"alice", b"right") == 1
    assert eventually(lambda: len(started.events("end", cause="banned")) == 5)


def test_who_was_here_before_is_not_locked_out(server: Start, echo: Origin, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "alice", "right")
    make_user(tmp_path / "users", "carol", "right")
    started = server(config=CONFIG)
    assert login(started, b"alice", b"right") == 0
    assert [login(started, b"mallory%d" % number, b"wrong") for number in range(5)] == [1] * 5
    started.wait_for("banned", what="network")
    assert login(started, b"carol", b"right") == 1
    with Client(started.endpoint) as client:
        client.open(echo.host, echo.port, b"alice", b"right")
        assert client.exchange(b"hello") == b"hello"


def with_control(server: Start, folder: Path) -> Server:
    for name in ("alice", "bob"):
        make_user(folder / "users", name, "right")
    return server(config=CONFIG + f'[admin]\nsocket = "{folder}/admin.sock"\n')


def test_bans_are_listed_and_lifted(server: Start, tmp_path: Path) -> None:
    started = with_control(server, tmp_path)
    assert objects(tmp_path, "bans") == []
    for _ in range(3):
        login(started, b"alice", b"wrong")
    started.wait_for("banned", what="user")
    found = objects(tmp_path, "bans")
    assert [(each["network"], each["user"], each["failures"]) for each in found] == [
        ("127.0.0.1/32", "", 3), ("", "alice", 3),
    ]  # fmt: skip
    assert objects(tmp_path, "show", "bans", "user=alice")[0]["user"] == "alice"
    assert b"127.0.0.1/32" in ctl(tmp_path, "bans").out
    assert ctl(tmp_path, "bans", "--remove", "127.0.0.0/8", "alice").out.startswith(b"lifted 2\n")
    assert login(started, b"alice", b"right") == 0
    assert b"none of them is banned" in ctl(tmp_path, "bans", "--remove", "alice", status=1).err


def test_bans_by_hand_hold_in_all_workers_over_a_reload_and_the_agents_death(
    server: Start, tmp_path: Path
) -> None:
    started = with_control(server, tmp_path)
    for name in (b"alice", b"bob") * 3:  # whom every worker knows by now
        assert login(started, name, b"right") == 0
    (banned,) = objects(tmp_path, "bans", "--add", "alice", "--for", "1h")
    assert 0 < banned["seconds"] <= 3600
    assert started.wait_for("banned-by-hand")["user"] == "alice"
    assert [login(started, b"alice", b"right") for _ in range(4)] == [1] * 4
    assert [login(started, b"bob", b"right") for _ in range(4)] == [0] * 4
    started.send_signal(signal.SIGHUP)
    started.wait_for("reloaded")
    assert login(started, b"alice", b"right") == 1
    agents = [each for each in started.pids if each == started.lookup]
    os.kill(agents[0], signal.SIGKILL)
    started.wait_for("child-died", child="lookup")
    started.bugs.add("child-died")
    assert login(started, b"alice", b"right") == 1
    assert login(started, b"bob", b"right") == 0
    assert len(objects(tmp_path, "bans", "--remove", "user=alice")) == 1
    assert login(started, b"alice", b"right") == 0


def test_a_list_is_taken_away_and_fed_back(server: Start, tmp_path: Path) -> None:
    with_control(server, tmp_path)
    ctl(tmp_path, "bans", "--add", "192.0.2.7", "2001:db8::/32", "user=10.0.0.1", "a b")
    ctl(tmp_path, "bans", "--add", "mallory", "--for", "1h")
    command = (sys.executable, "-m", "forksocks.ctl", "bans", "--socket", str(tmp_path / "admin.sock"))
    before = {(each["network"], each["user"]): each["until"] for each in objects(tmp_path, "bans")}
    assert before["", "a%20b"] is before["", "10.0.0.1"] is before["2001:db8::/32", ""] is None
    for form in ((), ("--json",)):
        lines = run(*command, "--export", *form, cwd=ROOT).out
        run(*command, "--remove", "-", text=lines, cwd=ROOT)
        assert objects(tmp_path, "bans") == []
        run(*command, "--add", "-", text=b"# kept\n\n" + lines, cwd=ROOT)
        after = {(each["network"], each["user"]): each["until"] for each in objects(tmp_path, "bans")}
        assert after.keys() == before.keys()
        assert all(after[key] == until for key, until in before.items() if until is None)
        assert abs(after["", "mallory"] - before["", "mallory"]) < 1


def test_what_is_no_list_of_bans_changes_nothing(server: Start, tmp_path: Path) -> None:
    with_control(server, tmp_path)
    command = (sys.executable, "-m", "forksocks.ctl", "bans", "--socket", str(tmp_path / "admin.sock"))
    for text in (
        b"alice\n192.0.2.7/24\n",
        b"alice\nbob tomorrow\n",
        b"alice\nbob until=soon\n",
        b"alice\n{}\n",
    ):
        said = run(*command, "--add", "-", text=text, status=2, cwd=ROOT)
        assert b"line 2: " in said.err
    for words in (
        ("--for", "1h"),
        ("--add", "a", "--for", "long"),
        ("--add", "user="),
        ("--add", "a", "--export"),
    ):
        ctl(tmp_path, "bans", *words, status=2)
    assert objects(tmp_path, "bans") == []


def test_bans_outlive_the_server_where_a_file_keeps_them(server: Start, echo: Origin, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "alice", "right")
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o700)
    text = CONFIG.replace("ban = ", f'file = "{kept}/bans", ban = ')
    text += f'[admin]\nsocket = "{tmp_path}/admin.sock"\n'
    started = server(config=text)
    assert login(started, b"alice", b"right") == 0
    assert [login(started, b"mallory%d" % number, b"wrong") for number in range(3)] == [1] * 3
    started.wait_for("banned", what="network")
    ctl(tmp_path, "bans", "--add", "192.0.2.0/24")
    before = {(each["network"], each["until"]) for each in objects(tmp_path, "bans")}
    assert len(before) == 2
    started.stop()
    again = server(config=text)
    assert {(each["network"], each["until"]) for each in objects(tmp_path, "bans")} == before
    assert login(again, b"bob", b"wrong") == 1
    again.wait_for("auth-failed", user="bob", reason="banned")
    assert login(again, b"alice", b"right") == 0, "who has been here before is known over a restart, too"
    again.stop()
    (kept / "bans").write_text("something else")
    third = server(config=text)
    assert third.wait_for("bans-not-read")["aside"] == f"{kept}/bans.bad"
    assert (kept / "bans.bad").read_text() == "something else"
    assert objects(tmp_path, "bans") == []
