"""What every test gets."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# Machines that run this are busy and idle by turns: an example's time says nothing about the code.
settings.register_profile("forksocks", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forksocks")

# A shell that starts us in the background has SIGINT ignored, and every program that a test starts would
# inherit that: Ctrl-C would reach none of them.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coverage leaves alone what the test starts."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)
