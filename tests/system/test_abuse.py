"""After clients and targets that stall, say half, close half or reset nothing of them stays behind."""

from __future__ import annotations

from tests.system.abuse import CONFIG, abuse, holdings, memory
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually

ROUNDS = 3
MEMORY = 4 << 20  # bytes that a server may have grown by


def test_nothing_stays_behind(server: Start, echo: Origin) -> None:
    started = server(config=CONFIG)
    workers = started.workers
    abuse(started)  # after the first time the pools have what they keep
    kept = holdings(started)
    filled = memory(started)
    for _ in range(ROUNDS):
        abuse(started)
    assert eventually(lambda: all(holdings(started)[each] <= kept[each] for each in kept)), holdings(started)
    assert memory(started) - filled < MEMORY
    assert started.workers == workers
    with Client(started.endpoint) as client:
        client.open(echo.host, echo.port)
        assert client.exchange(b"hello") == b"hello"
    causes = {line["cause"] for line in started.events("end")}
    assert {"handshake-timeout", "idle", "half-closed", "client-reset", "target-reset"} <= causes
