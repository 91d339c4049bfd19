from __future__ import annotations

import pytest

from forksocks.config.model import Rate
from forksocks.traffic.allowance import Allowance


def test_a_burst_passes_at_once_and_then_one_at_a_time() -> None:
    allowance = Allowance(Rate(10.0, 5))
    for _ in range(4):
        allowance.charge(1, 1000.0)
        assert allowance.rest(1000.0) == 0.0
    allowance.charge(1, 1000.0)
    assert allowance.rest(1000.0) == pytest.approx(0.1)
    assert allowance.rest(1000.05) == pytest.approx(0.05)
    assert allowance.rest(1000.1001) == 0.0
    allowance.charge(1, 1000.1001)
    assert allowance.rest(1000.1001) == pytest.approx(0.1, abs=0.001)


def test_what_went_beyond_it_is_waited_for() -> None:
    allowance = Allowance(Rate(10.0, 5))
    allowance.charge(25, 1000.0)
    assert allowance.rest(1000.0) == pytest.approx(2.1)


def test_silence_saves_a_burst_and_no_more() -> None:
    allowance = Allowance(Rate(10.0, 5))
    allowance.charge(5, 1000.0)
    allowance.charge(4, 5000.0)
    assert allowance.rest(5000.0) == 0.0
    allowance.charge(1, 5000.0)
    assert allowance.rest(5000.0) == pytest.approx(0.1)
