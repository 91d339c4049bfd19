"""Counters to the byte: some seconds of what `tests/exact` does for a minute."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.system.exactness import FAULTS, exactness


@pytest.mark.timeout(600)
def test_clients_scoreboard_metrics_and_log_agree_to_the_byte() -> None:
    with tempfile.TemporaryDirectory(prefix="exact") as folder:
        chaos, wrong = exactness(Path(folder), seconds=1.0, seed=4)
    assert not wrong, "\n".join(wrong)
    assert set(chaos.faults) == set(FAULTS)
    told = chaos.log()
    assert told.up > 1_000_000
    assert {"worker-crash", "client-closed", "denied", "refused"} <= set(told.causes)
