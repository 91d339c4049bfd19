"""`forksocksctl init`: whatever it writes passes `--check`, without a warning; and serves."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from forksocks import ctl
from forksocks.access import users_edit
from forksocks.config.load import load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def give(monkeypatch: pytest.MonkeyPatch, password: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(password)))


@pytest.mark.parametrize("user", [None, "alice", "al ice\N{SNOWMAN}\n"])
@pytest.mark.parametrize(
    "networks", [(), ("10.0.0.0/8",), ("192.0.2.7", "fd00::/8"), ("fd00::/64",), ("198.51.0.0/16",)]
)
def test_what_it_writes_passes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes],
    networks: Sequence[str], user: str | None,
) -> None:  # fmt: skip
    words = [word for each in networks for word in ("--lan", each)]
    if networks == ("198.51.0.0/16",) and user is None:
        assert ctl.main(["init", *words]) == 2
        return
    if user is not None:
        give(monkeypatch, b"secret\n")
        words += ["--user", user, "--stdin"]
    assert ctl.main(["init", *words]) == 0
    capsysbinary.readouterr()
    status = ctl.main(["check", "-c", "forksocks.toml"])
    said = capsysbinary.readouterr().out
    assert (status, said) == (0, b"forksocks.toml: ok\n")
    config = load(folder / "forksocks.toml", {}).config
    assert [str(each) for each in config.access.allow_from or ()][1:] == [
        each if "/" in each else f"{each}/32" for each in networks
    ]
    assert {str(each) for each in config.listen[0].bind} == (
        {"0.0.0.0:1080", "[::]:1080"} if networks else {"127.0.0.1:1080"}
    )
    assert [each.value for each in config.listen[0].auth] == ["none" if user is None else "password"]
    if user is not None:
        assert set(users_edit.users(folder / "users")) == {user.encode()}


def test_what_is_there_is_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    give(monkeypatch, b"first\n")
    assert ctl.main(["init", "--user", "alice", "--stdin", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": "forksocks.toml",
        "users": "users",
    }
    hashes, text = (folder / "users").read_bytes(), (folder / "forksocks.toml").read_text()
    assert ctl.main(["init", "--lan", "10.0.0.0/8"]) == 1
    assert "is there already" in capsys.readouterr().err
    assert (folder / "forksocks.toml").read_text() == text
    give(monkeypatch, b"second\n")
    assert ctl.main(["init", "--user", "alice", "--stdin", "other.toml"]) == 0
    assert (folder / "users").read_bytes() == hashes, "a user who is there keeps his password"


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--lan", "10.0.0.1/8"], 2, "--lan"),
        (["--lan", "office"], 2, "--lan"),
        (["--lan", "10.0.0.0/8", "--lan", "0.0.0.0/0"], 2, "--lan 0.0.0.0/0"),
        (["--stdin"], 2, "--user"),
        (["--user", ""], 2, "NAME"),
        (["a\0b"], 2, "NUL"),
        (["missing/forksocks.toml"], 1, "missing"),
    ],
)
def test_what_cannot_be(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], status: int, told: str
) -> None:
    assert ctl.main(["init", *words]) == status
    assert told in capsys.readouterr().err
    assert not list(folder.iterdir())


def test_a_users_file_that_others_can_change_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "users").touch()
    (folder / "users").chmod(0o666)
    give(monkeypatch, b"secret\n")
    assert ctl.main(["init", "--user", "alice", "--stdin"]) == 1
    assert "users" in capsys.readouterr().err
    assert not (folder / "forksocks.toml").exists()
