from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from forksocks import preflight
from forksocks.config.load import load, load_text
from forksocks.host import kernel, linux, web
from forksocks.host.log import sinks


def problems(text: str, base: Path = Path("/")) -> list[str]:
    return [str(each) for each in preflight.Preflight(load_text(text, base=base), thorough=True).problems]


def test_nothing_to_complain_of() -> None:
    assert preflight.Preflight(load(None, {}), thorough=True).problems == ()


def test_an_account_that_does_not_exist() -> None:
    assert problems('[server]\nuser = "no.such.account"') == [
        'forksocks.toml:2: [server] user "no.such.account" is no account of this machine'
    ]


def test_only_root_becomes_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    root = pwd.getpwuid(0).pw_name
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    (told,) = problems(f'[server]\nuser = "{root}"')
    assert "only root can become" in told
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert problems(f'[server]\nuser = "{root}"') == []


def test_a_users_file_without_users(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("# nobody yet\n")
    (tmp_path / "users").chmod(0o600)
    loaded = load_text('[auth]\nusers = "users"\n', base=tmp_path)
    assert [str(each) for each in preflight.Preflight(loaded, thorough=True).warnings] == [
        f"forksocks.toml:2: [auth] users warning: {tmp_path}/users has no users: nobody can log in"
    ]


def test_metrics_without_what_serves_them(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[admin]\nhttp = "127.0.0.1:9180"'
    assert problems(text) == []
    monkeypatch.setattr(web, "MODULES", ("no_such_waitress", "os"))
    assert problems(text) == [f"forksocks.toml:2: [admin] http needs no-such-waitress: {web.REMEDY}"]


def test_splice_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "HAS_SPLICE", False)
    assert problems('[server]\nrelay = "auto"') == []
    (told,) = problems('[server]\nrelay = "splice"')
    assert told == 'forksocks.toml:2: [server] relay this system has no splice: use "auto" or "copy"'


def test_directories_that_are_missing(tmp_path: Path) -> None:
    text = """\
server.pidfile = "no/pid"
log.to = "file:no/log"
listen = [{ bind = ["unix:no/sock", "127.0.0.1:0", "unix:sock"] }]
"""
    assert problems(text, tmp_path) == [
        f"forksocks.toml:1: [server] pidfile {tmp_path}/no/pid: there is no directory {tmp_path}/no",
        f"forksocks.toml:3: [listen] bind {tmp_path}/no/sock: there is no directory {tmp_path}/no",
        f"forksocks.toml:2: [log] to {tmp_path}/no/log: there is no directory {tmp_path}/no",
    ]


def test_what_cannot_be_made_is_found_without_making_it(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "link").symlink_to("taken")
    text = """\
server.pidfile = "."
log.to = "file:link"
listen = [{ bind = ["unix:taken", "unix:sock", "127.0.0.1:0"] }]
admin.socket = "admin"
"""
    assert problems(text, tmp_path) == [
        f"forksocks.toml:1: [server] pidfile {tmp_path}: it is a directory",
        f"forksocks.toml:3: [listen] bind {tmp_path}/taken: there is a file of that name that is no socket",
        f"forksocks.toml:2: [log] to {tmp_path}/link: is a symbolic link, which a log file may not be",
    ]
    (told,) = problems(f'[log]\nto = "file:{tmp_path}"')
    assert told == f"forksocks.toml:2: [log] to {tmp_path}: Is a directory"
    assert problems('server.pidfile = "pid"\nlog.to = "file:log"', tmp_path) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "taken"]


def test_directories_that_cannot_be_written() -> None:
    text = 'server.pidfile = "pid"\nlog.to = "file:log"\nlisten = [{ bind = ["unix:sock", "127.0.0.1:0"] }]'
    told = problems(text, Path("/proc/self"))  # nobody makes a file there, not even root
    assert [each.rpartition(": ")[2] for each in told] == ["we may not write there"] * 3


def test_a_log_without_its_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "SYSLOG_SOCKETS", (str(tmp_path / "log"),))
    (told,) = problems('[log]\nto = "syslog"')
    assert f"[log] to {tmp_path}/log: no syslog daemon answers there" in told


def test_too_few_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "raise_descriptor_limit", lambda: 64)
    (told,) = problems("[server]\nworkers = 2")
    assert told.startswith("forksocks.toml:2: [server] workers 2 workers on 1 addresses need 115 descriptors")


def test_outgoing_addresses_of_other_machines() -> None:
    assert problems('[egress]\naddresses = ["127.0.0.1"]') == []
    (told,) = problems('[egress]\naddresses = ["192.0.2.99"]')
    assert told == "forksocks.toml:2: [egress] addresses 192.0.2.99 is not an address of this machine"
    (told,) = problems('[[rule]]\nname = "r"\naction = "allow"\negress = ["127.0.0.1", "2001:db8::99"]')
    assert told == "forksocks.toml:4: [rule] egress 2001:db8::99 is not an address of this machine"


def test_a_users_file_is_read_only_where_that_is_asked_for(tmp_path: Path) -> None:
    users = tmp_path / "users"
    loaded = load_text('[auth]\nusers = "users"', base=tmp_path)
    (missing,) = preflight.Preflight(loaded, thorough=True).problems
    assert missing.text.startswith(f"{users}: ")
    users.write_text("# nobody yet\n")
    users.chmod(0o600)
    assert preflight.Preflight(loaded, thorough=True).problems == ()
    users.write_text("# nobody yet\nalice\n")
    (wrong,) = preflight.Preflight(loaded, thorough=True).problems
    assert wrong.text.startswith(f"{users}:2: ")
    assert preflight.Preflight(loaded, thorough=False).problems == ()


def test_every_wrong_line_of_a_users_file_is_told(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("alice\n# right\nbob:x\ncarol\n")
    users.chmod(0o600)
    text = '[auth]\nusers = "users"'
    assert [each.partition(f"{users}:")[2][:1] for each in problems(text, tmp_path)] == ["1", "3", "4"]
    users.write_text("alice\n" * (preflight.MOST_LINES + 7))
    *shown, last = problems(text, tmp_path)
    assert (len(shown), last.endswith("and 7 more lines like these")) == (preflight.MOST_LINES, True)


def test_a_helper_that_cannot_run(tmp_path: Path) -> None:
    program = tmp_path / "helper"
    text = f'[helper]\ncommand = ["{program}"]\nuser = "no.such.account"'
    assert problems(text) == [
        f"forksocks.toml:2: [helper] command {program}: there is no such program",
        'forksocks.toml:3: [helper] user "no.such.account" is no account of this machine',
    ]
    program.touch(mode=0o600)
    (told,) = problems(f'[helper]\ncommand = ["{program}"]')
    assert told == f"forksocks.toml:2: [helper] command {program}: it is not executable"
    program.chmod(0o700)
    assert problems(f'[helper]\ncommand = ["{program}"]') == []


def test_an_interface_to_leave_by(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '[[rule]]\nname = "r"\naction = "allow"\ninterface = "{}"'
    for name, told in (("lo", []), ("wg-none", ["there is no interface wg-none now"])):
        warnings = preflight.Preflight(load_text(text.format(name)), thorough=True).warnings
        assert [
            each.text.partition("warning: ")[2] for each in warnings if each.key == "[rule] interface"
        ] == told
    monkeypatch.setattr(linux, "SO_BINDTODEVICE", None)
    assert problems(text.format("lo")) == [
        "forksocks.toml:4: [rule] interface this system cannot bind connections to an interface"
    ]
