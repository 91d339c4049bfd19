from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from forksocks import preflight
from forksocks.config.load import load, load_text
from forksocks.host import kernel


def problems(text: str, base: Path = Path("/")) -> list[str]:
    return [str(each) for each in preflight.problems(load_text(text, base=base), read_users=True)]


def test_nothing_to_complain_of() -> None:
    assert preflight.problems(load(None, {}), read_users=True) == ()


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


def test_outgoing_addresses_of_other_machines() -> None:
    assert problems('[egress]\naddresses = ["127.0.0.1"]') == []
    (told,) = problems('[egress]\naddresses = ["192.0.2.99"]')
    assert told == "forksocks.toml:2: [egress] addresses 192.0.2.99 is not an address of this machine"


def test_a_users_file_is_read_only_where_that_is_asked_for(tmp_path: Path) -> None:
    users = tmp_path / "users"
    loaded = load_text('[auth]\nusers = "users"', base=tmp_path)
    (missing,) = preflight.problems(loaded, read_users=True)
    assert missing.text.startswith(f"{users}: ")
    users.write_text("# nobody yet\n")
    users.chmod(0o600)
    assert preflight.problems(loaded, read_users=True) == ()
    users.write_text("# nobody yet\nalice\n")
    (wrong,) = preflight.problems(loaded, read_users=True)
    assert wrong.text.startswith(f"{users}:2: ")
    assert preflight.problems(loaded, read_users=False) == ()


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
