"""Generations that nobody has forked: what they hold, and what they give back when there is not enough."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from forksocks.access.rules import Rules
from forksocks.config.load import load_text
from forksocks.config.model import Config
from forksocks.host.scoreboard.claims import ClaimPool
from forksocks.process import beginning
from forksocks.process.beginning import StartError, begin
from forksocks.process.generation import Generation
from forksocks.process.helpers import HelperRows
from tests.machine import open_descriptors


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_text(f"""
        [server]
        workers = 2
        threads = 4
        [[listen]]
        bind = ["127.0.0.1:0"]
        auth = ["password"]
        [helper]
        command = ["/bin/true"]
        [admin]
        socket = "{tmp_path}/admin"
        [log]
        to = "file:{tmp_path}/log"
        [[rule]]
        name = "all"
        action = "allow"
        limits = ["some"]
        [limit.some]
        per = "all"
        connections = 9
    """).config


@pytest.fixture
def begun(config: Config) -> Iterator[Generation]:
    made = begin(1, config, Rules(()), None, claims=ClaimPool())
    yield made
    end(made)


@contextlib.contextmanager
def room_for(number: int) -> Iterator[None]:
    """Only so many descriptors can be opened (getrlimit(2))."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = (descriptor for descriptor in count() if not os.path.exists(f"/proc/self/fd/{descriptor}"))
    [limit] = islice(free, number, number + 1)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def end(made: Generation) -> None:
    for endpoint in made.all_endpoints:
        endpoint.close()
    made.close()
    made.claims.close()


def test_one_that_cannot_have_all_that_it_needs_gives_everything_back(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "within_limits", lambda config: (config, None))  # it would raise ours
    before, room = open_descriptors(), 0
    while True:
        claims = ClaimPool()
        with room_for(room):
            try:
                made = begin(1, config, Rules(()), None, claims=claims)
            except StartError:
                made = None
                claims.close()
        if made is not None:
            break
        assert open_descriptors() == before, f"with room for {room}"
        room += 1
    assert room > 20, "there is nothing to do without"
    end(made)
    assert open_descriptors() == before


def test_a_worker_more_that_cannot_have_all_that_it_needs_gives_everything_back(begun: Generation) -> None:
    before, room, workers = open_descriptors(), 0, len(begun.workers)
    while len(begun.workers) == workers:
        assert open_descriptors() == before, f"with room for {room}"
        with room_for(room):
            try:
                begun.grow()
            except OSError:
                room += 1
    assert room > 20
    begun.workers[-1].leaves = True
    begun.forget_who_left()
    assert open_descriptors() == before


def test_helpers_are_due_only_where_an_agent_could_ask_them(begun: Generation) -> None:
    rows = HelperRows(begun.config, begun.log)
    assert rows.due(None) == []
    ours, theirs = socket.socketpair()
    assert len(rows.due(ours)) == begun.config.helper.processes
    ours.close()
    theirs.close()
    for child in begun.children:  # none could be forked: each waits for its time
        child.died()
        child.died()
    assert len(begun.due()) == len(begun.children)
    assert begun.vacancy() is None
