"""Fixtures of the tests that attack a running server: those of the tests with real processes."""

from tests.system.conftest import echo, island, server

__all__ = ["echo", "island", "server"]
