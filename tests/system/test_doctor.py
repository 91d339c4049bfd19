"""`forksocksctl doctor` beside a real server, whose limits are not those of the shell."""

from __future__ import annotations

import json
from pathlib import Path

from tests.system.programs import ctl
from tests.system.server import running

CONFIG = """
[server]
workers = 1
threads = 300
[[listen]]
name = "lan"
bind = ["127.0.0.1:0"]
[admin]
socket = "{folder}/admin.sock"
"""


def test_limits_that_are_too_low_are_said_at_the_start_and_by_the_doctor(tmp_path: Path) -> None:
    file = tmp_path / "forksocks.toml"
    file.write_text(CONFIG.format(folder=tmp_path))
    few = ["sh", "-c", 'ulimit -n 400 && exec "$@"', "sh"]
    with running(config=file, inside=few) as served:
        line = served.wait_for("capacity-limited")
        done = ctl(tmp_path, "doctor", "-c", str(file), "--json", status=1)
    assert line["limits"].startswith("400 descriptors of ")
    found = {each["check"]: each for each in map(json.loads, done.out.splitlines())}
    assert f"the limits are those of process {served.supervisor}" in found["capacity"]["text"]
    assert found["descriptors"]["state"] == "wrong"
    assert found["descriptors"]["text"].startswith("400 a process")
