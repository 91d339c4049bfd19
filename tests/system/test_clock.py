"""The machine's clock jumps a day ahead and two days back, and nobody notices but the log (libfaketime)."""

from __future__ import annotations

import os
import re
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import Server

(LIBRARY,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
CONFIG = """
[server]
workers = 2
hang = "30s"
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[timeouts]
handshake = "20s"
[log]
level = "info"
"""


class Clock:
    """The wall clock of a server; its monotonic clock is the real one."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(0)
        self.inside = (
            "env", f"LD_PRELOAD={LIBRARY}", f"FAKETIME_TIMESTAMP_FILE={self._file}", "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1",
        )  # fmt: skip

    def set(self, days: int) -> None:
        """Let it jump."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{days:+d}d\n")
        new.rename(self._file)


def says(server: Server, echo: Origin) -> timedelta:
    """Serve one client, and return how far from now the log says that it was."""
    before = len(server.events("end"))
    with Client(server.endpoint) as client:
        client.open(echo.host, echo.port)
        assert client.exchange(b"hello") == b"hello"
    assert eventually(lambda: len(server.events("end")) > before)
    said = datetime.fromisoformat(re.sub("Z$", "+00:00", server.events("end")[-1]["time"]))
    return said - datetime.now(UTC)


@pytest.mark.parametrize("days", [1, -1, 400])
def test_no_timeout_moves_with_it(server: Start, echo: Origin, tmp_path: Path, days: int) -> None:
    clock = Clock(tmp_path)
    started = server(config=CONFIG, inside=clock.inside)
    assert abs(says(started, echo)) < timedelta(hours=1)
    with Client(started.endpoint) as tunnel, Client(started.endpoint) as slow:
        tunnel.open(echo.host, echo.port)
        slow.greet()
        for now in (days, -days, 0):
            clock.set(now)
            assert abs(says(started, echo) - timedelta(days=now)) < timedelta(hours=1)
            assert tunnel.exchange(b"still here") == b"still here"
        # A deadline on the wall clock would have passed by now, or would be days away.
        assert slow.until_end() == b""
        end = started.wait_for("end", cause="handshake-timeout")
        assert float(end["total"].removesuffix("s")) >= 20
        clock.set(days)
        started.send_signal(signal.SIGHUP)
        started.wait_for("reloaded", generation=2)
        assert tunnel.exchange(b"still here") == b"still here"
    clock.set(-days)
    victim = started.workers[0]
    os.kill(victim, signal.SIGKILL)
    assert eventually(lambda: len(started.workers) == 2 and victim not in started.workers)
    assert not started.events("child-hung")
