from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forksocks.config.model import LogConfig
from forksocks.host.log import Log
from forksocks.host.scoreboard.page import Page
from forksocks.process import kept_bans
from forksocks.process.kept_bans import EVERY, KeptBans

KNOWN = b"all that is known"
OURS = frozenset({os.geteuid()})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(kept_bans, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page.make(4096)
    yield made
    made.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    (tmp_path / "log").mkdir()
    made = Log.open(LogConfig(to=f"file:{tmp_path}/log/log"))
    yield made
    made.close(1.0)


@pytest.fixture
def said(tmp_path: Path) -> Callable[[], str]:
    return (tmp_path / "log" / "log").read_text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "kept").mkdir(0o700)
    return tmp_path / "kept" / "bans"


def restored(file: Path, log: Log) -> bytes:
    """What a server that starts anew finds."""
    fresh = Page.make(4096)
    try:
        KeptBans(OURS, lambda: log).restore(file, fresh)
        return fresh.read()
    finally:
        fresh.close()


def test_what_was_known_is_there_again(page: Page, log: Log, file: Path, said: Callable[[], str]) -> None:
    kept = KeptBans(OURS, lambda: log)
    kept.restore(file, page)
    assert said() == ""
    kept.save(file, page)
    assert not file.exists(), "nothing is known yet"
    page.write(KNOWN)
    kept.save(file, page)
    assert file.stat().st_mode & 0o777 == 0o600
    assert restored(file, log) == KNOWN
    assert "bans-read" in said()
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_it_is_written_when_something_has_changed_and_not_too_often(
    page: Page, log: Log, file: Path, clock: list[float]
) -> None:
    kept = KeptBans(OURS, lambda: log)
    kept.restore(file, page)
    page.write(KNOWN)
    kept.look(file, page)
    first = file.stat()
    clock[0] += EVERY
    kept.look(file, page)
    assert file.stat() == first, "nothing has changed"
    page.write(b"more")
    kept.look(file, page)
    assert restored(file, log) == KNOWN, "not yet"
    clock[0] += EVERY
    kept.look(file, page)
    assert restored(file, log) == b"more"
    kept.look(None, page)
    kept.save(None, page)


@pytest.mark.parametrize(
    "spoil",
    [lambda raw: b"", lambda raw: b"x", lambda raw: raw[:-1], lambda raw: raw + b"x",
     lambda raw: raw.replace(b" 1\n", b" 2\n"), lambda raw: bytes(kept_bans.LARGEST + 1)],
    ids=["empty", "strange", "short", "long", "version", "huge"],
)  # fmt: skip
def test_what_is_not_ours_is_set_aside_and_nothing_is_lost(
    page: Page, log: Log, file: Path, said: Callable[[], str], spoil: Callable[[bytes], bytes]
) -> None:
    page.write(KNOWN)
    kept = KeptBans(OURS, lambda: log)
    kept.save(file, page)
    spoilt = spoil(file.read_bytes())
    file.write_bytes(spoilt)
    assert restored(file, log) == b""
    assert "bans-not-read" in said()
    assert str(file.with_name("bans.bad")) in said()
    assert file.with_name("bans.bad").read_bytes() == spoilt
    kept.save(None, page)
    KeptBans(OURS, lambda: log).save(file, page)
    assert restored(file, log) == KNOWN


def others_write(file: Path) -> None:
    file.chmod(0o620)


def others_write_beside(file: Path) -> None:
    file.parent.chmod(0o770)


def a_link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def a_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def nowhere(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()


@pytest.mark.parametrize(
    ("make", "why"),
    [(others_write, "chmod go-w"), (others_write_beside, "chmod go-w"), (a_link, "is a symbolic link"),
     (a_fifo, "is not a regular file"), (nowhere, "No such file or directory")],
)  # fmt: skip
def test_what_others_could_change_is_neither_read_nor_replaced(
    page: Page, log: Log, file: Path, said: Callable[[], str], make: Callable[[Path], None], why: str
) -> None:
    page.write(KNOWN)
    KeptBans(OURS, lambda: log).save(file, page)
    make(file)
    before = file.lstat() if os.path.lexists(file) else None
    assert why in str(kept_bans.objection(file, OURS))
    kept = KeptBans(OURS, lambda: log)
    fresh = Page.make(4096)
    kept.restore(file, fresh)
    assert fresh.read() == b""
    fresh.close()
    for _ in range(3):
        kept.save(file, page)
    assert (file.lstat() if os.path.lexists(file) else None) == before
    assert said().count("bans-not-") == 1, "said once"
    assert why in said()


def test_another_accounts_file_is_not_trusted(page: Page, log: Log, file: Path) -> None:
    page.write(KNOWN)
    KeptBans(OURS, lambda: log).save(file, page)
    told = kept_bans.objection(file, {os.geteuid() + 1})
    assert told is not None
    assert "which could change it; to mend this: chown root" in told
    assert kept_bans.objection(file, OURS) is None


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    page: Page, log: Log, file: Path, said: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page.write(KNOWN)
    kept = KeptBans(OURS, lambda: log)
    kept.save(file, page)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    page.write(b"more")
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", full)
        kept.save(file, page)
    assert "No space left on device" in said()
    assert restored(file, log) == KNOWN
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    kept.save(file, page)
    assert restored(file, log) == b"more"
