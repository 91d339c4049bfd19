"""`forksocksctl check` and `config` on files; tests/system/test_steering.py compares one with a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forksocks import ctl

TEXT = """\
[server]
threads = 77
[[listen]]
name = "lan"
bind = ["127.0.0.1:1080"]
[[rule]]
name = "staff"
action = "allow"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "forksocks.toml"
    path.write_text(TEXT)
    return path


def test_config_says_where_each_value_was_set(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["config", "-c", str(file), "--json"]) == 0
    found: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["key"]: (each["value"], Path(each["where"]).name) for each in found} == {
        "server.threads": ("77", "forksocks.toml:2"),
        "listen.lan.name": ('"lan"', "forksocks.toml:4"),
        "listen.lan.bind": ('["127.0.0.1:1080"]', "forksocks.toml:5"),
        "rule.staff.name": ('"staff"', "forksocks.toml:7"),
        "rule.staff.action": ('"allow"', "forksocks.toml:8"),
    }
    assert ctl.main(["config", "-c", str(file), "--all"]) == 0
    text = capsys.readouterr().out
    assert "server.workers" in text
    assert len(text.splitlines()) > 50
    file.write_text("[server]\nthreds = 1\n")
    assert ctl.main(["config", "-c", str(file)]) == 2
    assert "threds" in capsys.readouterr().err


def test_check_tells_all_that_is_wrong(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["check", "-c", str(file)]) == 0
    assert capsys.readouterr().out.endswith("forksocks.toml: ok\n")
    file.write_text(TEXT.replace("77", "-1").replace("bind =", "bond ="))
    assert ctl.main(["check", "-c", str(file), "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(each["kind"], each["line"]) for each in found} >= {("error", 2), ("error", 5)}
    assert ctl.main(["check", "-c", str(file.parent / "nothing.toml")]) == 1
