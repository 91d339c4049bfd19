"""What every test gets."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests.linux_alone import is_linux_alone

# Machines that run this are busy and idle by turns: an example's time says nothing about the code.
settings.register_profile("forksocks", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forksocks")

# A shell that starts us in the background has SIGINT ignored, and every program that a test starts would
# inherit that: Ctrl-C would reach none of them.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, where forksocks runs as if elsewhere, what is Linux's alone."""
    everywhere = "FORKSOCKS_ELSEWHERE" in os.environ
    left = [
        item
        for item in items
        if (everywhere or "test_elsewhere" in item.nodeid) and is_linux_alone(item.nodeid)
    ]
    if left:
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coverage leaves alone what the test starts."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)
