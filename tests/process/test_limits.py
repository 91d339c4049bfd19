from __future__ import annotations

import resource
import sys
from ipaddress import ip_address

import pytest

from forksocks.config.model import AuthMethod, Bind, Config, HelperConfig, ListenConfig, ServerConfig
from forksocks.host import kernel
from forksocks.process import limits
from forksocks.process.limits import DESCRIPTORS_A_SESSION, within_limits


def config(workers: int, addresses: int = 1, threads: int = 1024, helpers: int = 0) -> Config:
    binds = tuple(Bind(host=ip_address("127.0.0.1")) for _ in range(addresses))
    auth = AuthMethod.PASSWORD if helpers else AuthMethod.NONE
    helper = HelperConfig(("/bin/true",), helpers) if helpers else HelperConfig()
    listener = ListenConfig(name="default", bind=binds, auth=(auth,))
    return Config(ServerConfig(workers=workers, threads=threads), (listener,), helper=helper)


@pytest.mark.parametrize(
    ("limit", "threads", "left", "said"),
    [
        (256 + 500 * DESCRIPTORS_A_SESSION, 500, 500, None),
        (256 + 500 * DESCRIPTORS_A_SESSION, 501, 500, "threads from 501: 1756 descriptors"),
        (1024, 1024, 282, "threads from 1024: 1024 descriptors"),
        (128, 1024, 21, "threads from 1024: 128 descriptors"),
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
    ("limit", "made", "needed"),
    [
        (116, config(2), 115),
        (114, config(2), 115),
        (108, config(1), 71),
        (4096, config(128), 5155),
        (300, config(4, helpers=4), 243),
        (240, config(4, helpers=4), 243),
        (150, config(1, addresses=10), 134),  # two threads for each
        (120, config(1, addresses=10), 134),
    ],
)
def test_a_start_without_enough_descriptors_says_how_many(
    limit: int, made: Config, needed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "raise_descriptor_limit", lambda: limit)
    told = limits.shortage(made)
    assert (told is None) == (needed <= limit)
    assert told is None or f"need {needed} descriptors, and the limit is {limit}" in told


@pytest.mark.parametrize(
    ("limit", "pipes"),
    [
        (256 + 200, 75),  # 105 are kept free of them
        (10, 0),
        (2048, 200),
        (2048 - 256, 200),
        (512, 100),
        (1 << 20, 200),
        (resource.RLIM_INFINITY, 200),
    ],
)
def test_pipes_leave_every_session_its_sockets(
    limit: int, pipes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert kernel.pipes_to_spare(100) == pipes
