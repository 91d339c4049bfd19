from __future__ import annotations

import os
import signal

import pytest

from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.server import parse, running


def test_a_server_starts_serves_and_ends(server: Start, echo: Origin) -> None:
    started = server()
    assert len(started.workers) == 2
    assert started.lookup
    assert set(started.pids) == {started.supervisor, started.lookup, *started.workers}
    with Client(started.endpoint) as client:
        client.open(echo.host, echo.port)
        assert client.exchange(b"hello") == b"hello"
    end = started.wait_for("end", cause="client-closed")
    assert (end["up"], end["down"]) == ("5", "5")
    pids = started.pids
    started.stop()
    assert not any(processes.is_alive(pid) for pid in pids)


def test_a_server_that_does_not_end_well_fails_its_test() -> None:
    with pytest.raises(AssertionError, match="exit status"), running() as started:
        os.kill(started.supervisor, signal.SIGKILL)


def test_a_line_is_taken_apart_in_either_format() -> None:
    text = parse('2026-11-24T04:00:00.123Z end id=w2-7f client=[::1]:5 user="a \\"b\\"" up=5 total=4ms')
    assert (text["event"], text["user"], text["client"]) == ("end", 'a "b"', "[::1]:5")
    assert parse('{"time":"2026-11-24T04:00:00.123Z","event":"end","up":5}')["up"] == 5
    assert parse("forksocks: cannot listen") == {}
