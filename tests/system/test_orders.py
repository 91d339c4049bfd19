"""`forksocksctl reload` and `upgrade` against a real server: what they say, and that it is so."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.load import knocking
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import ctl

CONFIG = """
[server]
workers = 2
threads = 50
drain = "5s"
{server}
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[admin]
socket = "{folder}/admin.sock"
"""


def write(folder: Path, server: str = "") -> str:
    text = CONFIG.format(folder=folder, server=server)
    (folder / "forksocks.toml").write_text(text)
    return text


class TestReload:
    def test_it_says_what_has_changed_when_it_serves(
        self, server: Start, echo: Origin, tmp_path: Path
    ) -> None:
        started = server(config=CONFIG.format(folder=tmp_path, server=""))
        with knocking(started.endpoint, echo) as load:
            write(tmp_path, 'relay = "copy"')
            said = ctl(tmp_path, "reload", "--wait")
            assert said.out == b"reloaded: generation 2 serves, changed: server.relay\n"
            assert len(started.events("reloaded", generation=2)) == 1
            found = json.loads(ctl(tmp_path, "reload", "--wait", "--json").out)
            assert found == {"generation": 3, "changed": "nothing"}
            load.wait_for(10)
        assert load.failed == 0, load.failures

    def test_it_says_why_it_was_refused_or_has_failed(self, server: Start, tmp_path: Path) -> None:
        started = server(config=CONFIG.format(folder=tmp_path, server=""))
        workers = started.workers
        write(tmp_path, "threds = 3")
        said = ctl(tmp_path, "reload", "--wait", status=1)
        assert b"not reloaded, the server goes on as before: " in said.err
        assert b"unknown key" in said.err
        write(tmp_path, f'[auth]\nusers = "{tmp_path}/nobody"')
        said = ctl(tmp_path, "reload", "--wait", status=1)
        assert b"nobody" in said.err
        assert started.workers == workers

    def test_without_wait_it_is_only_asked_for(self, server: Start, tmp_path: Path) -> None:
        started = server(config=CONFIG.format(folder=tmp_path, server=""))
        said = ctl(tmp_path, "reload")
        assert said.out == b"asked the server of process %d to reload\n" % started.supervisor
        started.wait_for("reloaded", generation=2)

    def test_many_at_once_all_hear_of_their_own(self, server: Start, tmp_path: Path) -> None:
        started = server(config=CONFIG.format(folder=tmp_path, server=""))
        os.kill(started.supervisor, signal.SIGHUP)  # one that had read the file already
        write(tmp_path, 'relay = "copy"')
        ctl(tmp_path, "reload", "--wait")
        changed = [line["changed"] for line in started.events("reloaded")]
        assert "server.relay" in changed

    def test_without_a_server_the_exit_status_is_3(self, tmp_path: Path) -> None:
        for verb in ("reload", "upgrade"):
            assert b"no server answers" in ctl(tmp_path, verb, status=3).err


class TestUpgrade:
    def test_the_new_program_serves_when_it_returns(
        self, server: Start, echo: Origin, tmp_path: Path
    ) -> None:
        started = server(config=CONFIG.format(folder=tmp_path, server=""))
        with Client(started.endpoint) as client, knocking(started.endpoint, echo) as load:
            client.open(echo.host, echo.port)
            found = json.loads(ctl(tmp_path, "upgrade", "--json").out)
            try:
                assert found["pid"] != started.supervisor
                assert started.wait_for("took-over")["pid"] == str(found["pid"])
                assert len(processes.workers(found["pid"])) == 2
                assert client.exchange(b"hello") == b"hello"
                load.wait_for(10)
            finally:
                os.kill(found["pid"], signal.SIGTERM)
            assert client.exchange(b"hello") == b"hello"
        assert eventually(lambda: not started.left())

    def test_one_that_cannot_serve_is_told_and_the_old_one_goes_on(
        self, server: Start, echo: Origin, tmp_path: Path
    ) -> None:
        started = server(config=CONFIG.format(folder=tmp_path, server=""))
        write(tmp_path, "threds = 3")
        said = ctl(tmp_path, "upgrade", status=1)
        assert b"not upgraded, the server goes on as before: " in said.err
        with Client(started.endpoint) as client:
            client.open(echo.host, echo.port)
            assert client.exchange(b"hello") == b"hello"
