from __future__ import annotations

import resource

import pytest

from forksocks.host.sandbox import limits, privileges
from forksocks.host.sandbox.profile import LEAST_MEMORY, MIB, profiles


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[int, int]]:
    made: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", made.__setitem__)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    return made


def test_a_worker_of_an_account_of_its_own(limited: dict[int, tuple[int, int]]) -> None:
    worker = profiles(workers=4, threads=1024)["worker"]
    limits.apply(worker, 500, accounts_own=True)
    assert limited == {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_NOFILE: (500, 500),
        resource.RLIMIT_DATA: (LEAST_MEMORY, LEAST_MEMORY),
        resource.RLIMIT_NPROC: (worker.threads, worker.threads),
    }


def test_a_persons_other_processes_do_not_count(limited: dict[int, tuple[int, int]]) -> None:
    limits.apply(profiles(4, 1024)["lookup"], 500, accounts_own=False)
    assert resource.RLIMIT_NPROC not in limited


def test_limits_are_never_raised(
    limited: dict[int, tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    limits.apply(profiles(4, 1024)["worker"], 500, accounts_own=True)
    assert max(hard for _, hard in limited.values()) == 100


def test_many_threads_get_the_memory_that_they_need() -> None:
    assert profiles(1, 65536)["worker"].memory > 65536 * MIB
    assert profiles(1, 2)["worker"].memory == LEAST_MEMORY
    assert profiles(8, 1024)["worker"].threads > 2 * 8 * 1024


def test_only_an_account_that_was_named_is_the_servers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    named, fallback = privileges.identity("daemon"), privileges.identity(None)
    assert named is not None
    assert fallback is not None
    assert (named.own, fallback.own) == (True, False)
