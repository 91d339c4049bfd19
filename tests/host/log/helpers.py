"""What the tests of the log share."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

from forksocks.config.model import LogConfig
from forksocks.host.log import Log
from forksocks.host.log.sinks import DescriptorSink

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
LONG = 10.0  # seconds that nothing here should need


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def log_on(fd: int, **settings: object) -> Log:
    return Log(DescriptorSink(fd), LogConfig(**settings))  # type: ignore[arg-type]


def drain(fd: int) -> bytes:
    """What is in a pipe now."""
    got = b""
    while select.select([fd], [], [], 0)[0] and (piece := os.read(fd, 65536)):
        got += piece
    return got
