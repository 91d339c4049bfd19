from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from forksocks import ctl
from forksocks.verbs import bans

WRONG = 2


def status(*words: str, socket: Path) -> int:
    return ctl.main(["bans", *words, "--socket", str(socket)])


@pytest.mark.parametrize(
    "word",
    [
        "1.2.3.4:80",
        "300.1.1.1",
        "010.1.2.3",
        "1.2.3",
        "fe80::1%eth0",
        "[::1]:80",
        "10.0.0.0/33",
        "10.0.0.1\x0b",
    ],
)
def test_what_was_meant_as_an_address_bans_no_user(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("--add", word, socket=tmp_path / "none") == WRONG
    assert "network" in capsys.readouterr().err


def test_a_user_may_be_called_like_an_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--add", "user=1.2.3", socket=tmp_path / "none") == 3
    assert "no server answers" in capsys.readouterr().err


def test_a_list_that_is_too_long_is_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bans, "LARGEST", 16)
    monkeypatch.setattr(sys, "stdin", io.StringIO("10.1.2.3\n10.1.2.34\n"))
    assert status("--add", "-", socket=tmp_path / "none") == WRONG
    assert "nothing was done" in capsys.readouterr().err
