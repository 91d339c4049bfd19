from __future__ import annotations

import resource
import sys

import pytest

from forksocks.config.model import Config, ServerConfig
from forksocks.host import kernel
from forksocks.host.kernel import RESERVED_DESCRIPTORS
from forksocks.process.limits import DESCRIPTORS_A_SESSION, within_limits


@pytest.mark.parametrize(
    ("limit", "threads", "left", "said"),
    [
        (RESERVED_DESCRIPTORS + 100 * DESCRIPTORS_A_SESSION, 100, 100, None),
        (RESERVED_DESCRIPTORS + 100 * DESCRIPTORS_A_SESSION, 101, 100, "threads from 101: 556 descriptors"),
        (10, 1024, 1, "threads from 1024: 10 descriptors"),
        (sys.maxsize, 65536, 65536, None),
    ],
)
def test_as_many_threads_as_there_are_descriptors_for(
    limit: int, threads: int, left: int, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "raise_descriptor_limit", lambda: limit)
    config, reduced = within_limits(Config(ServerConfig(threads=threads), ()))
    assert (config.server.threads, reduced) == (left, said)


@pytest.mark.parametrize(
    ("limit", "pipes"),
    [
        (RESERVED_DESCRIPTORS + 200, 0),
        (10, 0),
        (RESERVED_DESCRIPTORS + 300, 50),
        (RESERVED_DESCRIPTORS + 600, 200),
        (1 << 20, 200),
        (resource.RLIM_INFINITY, 200),
    ],
)
def test_pipes_leave_every_session_its_sockets(
    limit: int, pipes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert kernel.pipes_to_spare(100) == pipes
