from __future__ import annotations

import re
from itertools import islice
from types import SimpleNamespace

import pytest

from forksocks.host.scoreboard import identity as naming
from forksocks.host.scoreboard.identity import births, identity, numbers


def test_a_session_is_called_by_worker_birth_and_number() -> None:
    given = numbers(0x69255E41)
    assert [identity(2, next(given)) for _ in range(3)] == [
        "w2-69255e41-1", "w2-69255e41-2", "w2-69255e41-3",
    ]  # fmt: skip


def test_whatever_stands_on_the_board_is_a_name() -> None:
    for number in (0, 1, 2**32, 2**64 - 1):
        assert re.fullmatch(r"w0-[0-9a-f]{1,8}-[0-9a-f]{1,8}", identity(0, number))


def test_no_two_births_are_in_the_same_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1000.5, 1000.6, 1000.7, 1500.0, 10.0])
    monkeypatch.setattr(naming, "time", SimpleNamespace(time=lambda: next(clock)))
    assert list(islice(births(), 5)) == [1000, 1001, 1002, 1500, 1501]
