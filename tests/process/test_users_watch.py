from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from forksocks.access.users import UsersError
from forksocks.process import users_watch
from forksocks.process.users_watch import EVERY, UsersWatch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(users_watch, "monotonic", lambda: now[0])
    return now


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_text(text)
    path.chmod(mode)


def content(descriptor: int | None) -> str | None:
    if descriptor is None:
        return None
    with os.fdopen(descriptor) as file:
        return file.read()


def test_without_a_file_there_is_nothing_to_open() -> None:
    watch = UsersWatch(None)
    assert watch.open() is None
    assert watch.open_changed() is None


def test_it_opens_after_a_change_and_looks_once_a_second(tmp_path: Path, clock: list[float]) -> None:
    path = tmp_path / "users"
    write(path, "one")
    watch = UsersWatch(path)
    assert content(watch.open()) == "one"
    assert watch.open_changed() is None
    write(path, "three")
    assert watch.open_changed() is None
    clock[0] += EVERY
    assert content(watch.open_changed()) == "three"
    clock[0] += EVERY
    assert watch.open_changed() is None


def test_a_mistake_is_told_once_and_its_mending_seen(tmp_path: Path, clock: list[float]) -> None:
    path = tmp_path / "users"
    write(path, "one")
    watch = UsersWatch(path)
    assert content(watch.open()) == "one"
    path.chmod(0o666)
    clock[0] += EVERY
    with pytest.raises(UsersError):
        watch.open_changed()
    clock[0] += EVERY
    assert watch.open_changed() is None
    path.chmod(0o600)
    clock[0] += EVERY
    assert content(watch.open_changed()) == "one"


def test_a_file_that_went_away_is_told_and_found_again(tmp_path: Path, clock: list[float]) -> None:
    path = tmp_path / "users"
    write(path, "one")
    watch = UsersWatch(path)
    assert content(watch.open()) == "one"
    path.unlink()
    clock[0] += EVERY
    with pytest.raises(UsersError):
        watch.open_changed()
    write(path, "new")
    clock[0] += EVERY
    assert content(watch.open_changed()) == "new"


def test_what_reached_nobody_is_opened_again(tmp_path: Path, clock: list[float]) -> None:
    path = tmp_path / "users"
    write(path, "one")
    watch = UsersWatch(path)
    assert content(watch.open()) == "one"
    watch.forget()
    clock[0] += EVERY
    assert content(watch.open_changed()) == "one"
    clock[0] += EVERY
    assert watch.open_changed() is None


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_shortage_is_not_the_files_mistake(
    tmp_path: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fails(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "users"
    write(path, "one")
    watch = UsersWatch(path)
    with monkeypatch.context() as short:
        short.setattr(os, "open", fails)
        with pytest.raises(UsersError, match="tried again"):
            watch.open()
    assert content(watch.open_changed()) == "one"
