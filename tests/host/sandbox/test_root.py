from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from forksocks.host.sandbox import root
from forksocks.host.sandbox.root import EmptyRoot
from tests.host.sandbox.apart import apart, errno_of


def entered() -> list[object]:
    empty = EmptyRoot()
    if os.geteuid() == 0:
        empty.enter()
    else:
        os.chdir(empty.fileno())
    empty.close()
    return [
        errno_of(lambda: os.mkdir("x")),
        errno_of(lambda: os.close(os.open("x", os.O_CREAT | os.O_WRONLY))),
        os.listdir("."),
        errno_of(lambda: os.stat("/etc")) if os.geteuid() == 0 else 2,
    ]


def test_nothing_is_in_it_and_nothing_can_be_made_in_it() -> None:
    assert apart(entered) == [2, 2, [], 2]  # ENOENT


def test_nothing_is_left_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root, "PLACES", ("/no/such/place", str(tmp_path)))
    with contextlib.closing(EmptyRoot()) as made:
        assert os.fstat(made.fileno()).st_nlink == 0
    assert os.listdir(tmp_path) == []


def test_where_nothing_can_be_made_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root, "PLACES", ("/no/such/place",))
    with pytest.raises(OSError, match="/no/such/place"):
        EmptyRoot()
