"""What every test gets."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Machines that run this are busy and idle by turns: an example's time says nothing about the code.
settings.register_profile("forksocks", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forksocks")
