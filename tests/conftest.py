"""What every test gets."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# Machines that run this are busy and idle by turns: an example's time says nothing about the code.
settings.register_profile("forksocks", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("forksocks")

# A shell that starts us in the background has SIGINT ignored, and every program that a test starts would
# inherit that: Ctrl-C would reach none of them.
signal.signal(signal.SIGINT, signal.default_int_handler)
