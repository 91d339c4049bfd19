"""`forksocksctl log level` against a real server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import ctl, objects
from tests.system.server import OBSERVED

CONFIG = (
    OBSERVED
    + """
[[rule]]
name = "hushed"
action = "allow"
log = "error"
"""
)


def test_more_is_logged_of_some_for_a_while(server: Start, echo: Origin, tmp_path: Path) -> None:
    served = server(config=CONFIG.format(folder=tmp_path))

    def told() -> bool:
        with Client(served.endpoint) as client:
            client.open(echo.host, echo.port)
            assert client.exchange(b"hello") == b"hello"
        return bool(served.events("request"))

    assert not told()
    ctl(tmp_path, "log", "level", "debug", "client=192.0.2.0/24", "for", "1h")
    (found,) = objects(tmp_path, "log", "level", "debug", "client=127.0.0.0/8", "for", "1h")
    assert found["order"]["client"] == "127.0.0.0/8"
    assert eventually(told)
    assert served.wait_for("end")["rule"] == "hushed", "an order is about more than rules know"
    assert b"debug for clients of 127.0.0.0/8" in ctl(tmp_path, "status").out
    before = served.wait_for_workers(2)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    served.wait_for_workers(2, without=before)
    assert eventually(lambda: len(served.events("child-died")) == 2)
    seen = len(served.events("request"))
    assert eventually(lambda: told() and len(served.events("request")) > seen), "it outlives workers"
    assert ctl(tmp_path, "log", "level", "configured").out == b"notice\n"
    for words in (("level",), ("level", "debug", "for"), ("level", "debug", "later"), ("reopen", "it")):
        ctl(tmp_path, "log", *words, status=2)
    assert b"level is one of" in ctl(tmp_path, "log", "level", "loud", status=1).err
