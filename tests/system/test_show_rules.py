"""`forksocksctl show rules` and `show limits` against a real server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.datagrams import Association, port_of, remote
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import ctl, objects
from tests.system.server import OBSERVED

CONFIG = (
    OBSERVED
    + """
[[rule]]
name = "no-mail"
ports = [25]
action = "deny"
[[rule]]
name = "datagrams"
commands = ["udp"]
action = "allow"
[[rule]]
name = "rest"
to = ["localhost", "@loopback"]
action = "allow"
limits = ["few"]
[limit.few]
per = "address"
connections = 3
"""
)


def counts(folder: Path) -> dict[str, int]:
    return {each["rule"]: each["hits"] for each in objects(folder, "show", "rules")}


def test_rules_with_their_hits_and_limits_with_who_has_most(
    server: Start, echo: Origin, tmp_path: Path
) -> None:
    served = server(config=CONFIG.format(folder=tmp_path))
    assert list(counts(tmp_path)) == ["no-mail", "datagrams", "rest", ""]
    with Client(served.endpoint) as held:
        held.open(echo.host, echo.port)
        for port in (25, 25, echo.port):
            with Client(served.endpoint) as client:
                client.greet()
                client.request("localhost", port)
        with Client(served.endpoint) as client:
            client.greet()
            assert client.request("192.0.2.1", 80).code == 2
        with Association(served.endpoint) as association, remote() as far:
            for _ in range(2):
                association.send(b"hello", "127.0.0.1", port_of(far))
                assert far.recv(9) == b"hello"
        assert counts(tmp_path) == {"no-mail": 2, "datagrams": 1, "rest": 2, "": 1}

        def is_told() -> bool:  # once the others have ended
            (few,) = objects(tmp_path, "show", "limits")
            return (few["limit"], few["who"], few["most"], few["rules"]) == ("few", "127.0.0.1", 1, ["rest"])

        assert eventually(is_told)
    assert b"no-mail" in ctl(tmp_path, "show", "rules", "action=deny").out
    before = served.wait_for_workers(2)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    served.wait_for_workers(2, without=before)
    assert counts(tmp_path)["rest"] == 2
    ctl(tmp_path, "workers", "-1")
    assert eventually(lambda: len(served.workers) == 1)
    ctl(tmp_path, "workers", "+1")  # and an admin process that knows the boards of now
    assert eventually(lambda: counts(tmp_path) == {"no-mail": 2, "datagrams": 1, "rest": 2, "": 1})
    ctl(tmp_path, "reload", "--wait")
    assert not any(counts(tmp_path).values())
