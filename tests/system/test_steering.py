"""`forksocksctl workers`, `drain`, `resume`, `log reopen` and `diff` against a real server."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import Done, ctl
from tests.system.server import OBSERVED


def json_lines(done: Done) -> dict[str, tuple[str, str]]:
    rows = map(json.loads, done.out.splitlines())
    return {row["key"]: (row["running"], row["file"]) for row in rows}


def test_workers_more_and_less(server: Start, tmp_path: Path) -> None:
    served = server(config=OBSERVED.format(folder=tmp_path))
    assert ctl(tmp_path, "workers", "+1").out == b"3 workers, until the next reload\n"
    assert eventually(lambda: len(served.workers) == 3)
    for left in (2, 1):
        assert json.loads(ctl(tmp_path, "workers", "-1", "--json").out) == {"workers": left}
    assert b"the last worker stays" in ctl(tmp_path, "workers", "-1", status=1).err
    ctl(tmp_path, "workers", "7", status=2)


def test_drained_it_still_answers_and_serves_again(server: Start, echo: Origin, tmp_path: Path) -> None:
    served = server(config=OBSERVED.format(folder=tmp_path))
    with Client(served.endpoint) as before:
        before.open(echo.host, echo.port)
        assert json.loads(ctl(tmp_path, "drain", "--json").out) == {"sessions": 1}
        assert before.exchange(b"hello") == b"hello"
        assert json.loads(ctl(tmp_path, "status", "--json").out)["state"] == "drained"
    assert eventually(lambda: not served.workers)
    assert json.loads(ctl(tmp_path, "status", "--json").out)["sessions"]["open"] == 0
    with Client(served.endpoint) as waiting:
        assert ctl(tmp_path, "resume").out == b"2 workers serve\n"
        waiting.open(echo.host, echo.port)
        assert waiting.exchange(b"hello") == b"hello"
    assert b"nothing is drained" in ctl(tmp_path, "resume", status=1).err
    assert json.loads(ctl(tmp_path, "status", "--json").out)["state"] == "running"


def test_a_drained_server_can_be_stopped(server: Start, tmp_path: Path) -> None:
    served = server(config=OBSERVED.format(folder=tmp_path))
    ctl(tmp_path, "drain")
    assert eventually(lambda: not served.workers)
    served.stop()
    assert not (tmp_path / "admin.sock").exists()


def test_the_log_is_opened_again(server: Start, tmp_path: Path) -> None:
    log = tmp_path / "forksocks.log"
    text = OBSERVED.format(folder=tmp_path)
    server(config=f'{text}[log]\nto = "file:{log}"\nlevel = "info"\n', follow=log)
    log.rename(tmp_path / "old.log")
    assert b"open its log again" in ctl(tmp_path, "log", "reopen").out
    assert eventually(log.exists)


def test_a_file_is_compared_with_what_is_served(server: Start, tmp_path: Path) -> None:
    text = OBSERVED.format(folder=tmp_path)
    server(config=text)
    file = tmp_path / "other.toml"
    file.write_text(text)
    options = json_lines(ctl(tmp_path, "diff", "-c", str(file), "--json", status=None))
    assert "server.threads" not in options
    file.write_text(text.replace("threads = 50", "threads = 40"))
    found = json_lines(ctl(tmp_path, "diff", "-c", str(file), "--json", status=1))
    assert found == options | {"server.threads": ("50", "40")}
    assert re.search(rb"^server.threads +50 +40$", ctl(tmp_path, "diff", "-c", str(file), status=1).out, re.M)
