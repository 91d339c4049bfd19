from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from forksocks.access import users_edit
from forksocks.access.hashes import Parameters, hashed
from forksocks.access.users import UsersError, check_file
from forksocks.access.users_edit import delete, put, regroup, users

CHEAP = Parameters(memory=8, passes=1, lanes=1)
OLD, NEW = hashed(b"old", CHEAP), hashed(b"new", CHEAP)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "users"


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_missing_file_is_made_for_its_owner_alone(path: Path) -> None:
    assert put(path, b"alice", NEW) is False
    assert path.read_bytes() == b"alice:%b\n" % NEW
    assert mode(path) == 0o600
    assert os.listdir(path.parent) == ["users"]


def test_a_change_keeps_comments_order_and_everyone_else(path: Path) -> None:
    write(path, b"# staff\nalice:%b\n\n# guests\na%%6cbert:%b\nbob:%b" % (OLD, OLD, OLD))
    assert put(path, b"albert", NEW) is True
    assert path.read_bytes() == b"# staff\nalice:%b\n\n# guests\nalbert:%b\nbob:%b" % (OLD, NEW, OLD)
    assert put(path, b"b\xffb:", NEW) is False
    assert path.read_bytes().endswith(b"bob:%b\nb%%FFb%%3A:%b\n" % (OLD, NEW))
    delete(path, b"alice")
    assert path.read_bytes().startswith(b"# staff\n\n# guests\nalbert:")
    assert list(users(path)) == [b"albert", b"bob", b"b\xffb:"]


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o440, 0o644])
def test_mode_is_kept(path: Path, kept: int) -> None:
    write(path, b"alice:%b\n" % OLD, kept)
    put(path, b"alice", NEW)
    delete(path, b"alice")
    assert mode(path) == kept


def test_owner_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, b"alice:%b\n" % OLD, 0o640)
    changed: list[tuple[int, int]] = []
    real = check_file

    def of_someone_else(fd: int, name: str) -> os.stat_result:
        fields = list(real(fd, name))
        fields[4:6] = 4711, 4712
        return os.stat_result(fields)

    monkeypatch.setattr(users_edit, "check_file", of_someone_else)
    monkeypatch.setattr(os, "fchown", lambda _, uid, gid: changed.append((uid, gid)))
    put(path, b"alice", NEW)
    assert changed == [(4711, 4712)]


def test_deleting_nobody_is_refused_with_a_suggestion(path: Path) -> None:
    write(path, b"alice:%b\nbob:%b\n" % (OLD, OLD))
    with pytest.raises(UsersError, match='there is no user "alcie"; did you mean "alice"'):
        delete(path, b"alcie")
    with pytest.raises(UsersError, match="it has 2 others"):
        delete(path, b"zzz")
    with pytest.raises(UsersError, match="no such file"):
        delete(path.with_name("none"), b"alice")


@pytest.mark.parametrize(
    ("content", "bits", "why"),
    [
        (b"alice\n", 0o600, "has no colon"),
        (b"", 0o620, "its group can write it"),
        (b"", 0o602, "others can write"),
    ],
)
def test_a_file_that_would_not_be_read_is_left_alone(path: Path, content: bytes, bits: int, why: str) -> None:
    write(path, content, bits)
    for change in (lambda: put(path, b"bob", NEW), lambda: delete(path, b"bob")):
        with pytest.raises(UsersError, match=why):
            change()
    assert path.read_bytes() == content


def test_links_are_not_followed(path: Path) -> None:
    target = path.with_name("target")
    path.symlink_to(target)
    with pytest.raises(UsersError, match="is a symbolic link"):
        put(path, b"alice", NEW)
    assert not target.exists()


def test_a_file_does_not_grow_beyond_what_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_edit, "LARGEST_FILE", 150)
    put(path, b"alice", NEW)
    with pytest.raises(UsersError, match=r"would have \d+ bytes; the most is 150"):
        put(path, b"bob", NEW)
    assert list(users(path)) == [b"alice"]


class TestFailures:
    """Whatever fails half way, the file is as it was and nothing lies beside it."""

    @pytest.mark.parametrize(
        ("call", "code", "why"),
        [
            ("rename", errno.EBUSY, "cannot be written .*it is a mount point"),
            ("rename", errno.EROFS, "cannot be written .*nothing was changed"),
            ("fsync", errno.ENOSPC, "cannot be written .*nothing was changed"),
            ("fchmod", errno.EPERM, "cannot be written .*try as its owner or as root"),
        ],
    )
    @pytest.mark.parametrize("exists", [True, False])
    def test_a_call_fails(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, why: str, exists: bool
    ) -> None:
        def fails(*_: object) -> None:
            raise OSError(code, os.strerror(code))

        if exists:
            write(path, b"alice:%b\n" % OLD)
        monkeypatch.setattr(os, call, fails)
        with pytest.raises(UsersError, match=why):
            put(path, b"alice", NEW)
        assert os.listdir(path.parent) == (["users"] if exists else [])
        assert not exists or path.read_bytes() == b"alice:%b\n" % OLD

    def test_the_directory_cannot_be_written(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(**_: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        write(path, b"")
        monkeypatch.setattr(tempfile, "mkstemp", fails)
        with pytest.raises(UsersError, match=r"\(Permission denied\); its directory has to be writable"):
            put(path, b"alice", NEW)

    def test_there_is_no_directory(self, path: Path) -> None:
        with pytest.raises(UsersError, match=r"cannot be made \(No such file or directory\)"):
            put(path / "below", b"alice", NEW)

    def test_the_file_system_has_no_locks(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", fails)
        with pytest.raises(UsersError, match="cannot be locked"):
            put(path, b"alice", NEW)

    def test_an_interrupt_leaves_nothing(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupts(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(os, "rename", interrupts)
        with pytest.raises(KeyboardInterrupt):
            put(path, b"alice", NEW)
        assert os.listdir(path.parent) == []


class TestWriters:
    """Two at once lose nothing."""

    def test_many_processes_each_add_their_users(self, path: Path) -> None:
        program = (
            "import sys; from pathlib import Path; from forksocks.access.users_edit import put\n"
            f"path, name = Path({str(path)!r}), sys.argv[1].encode()\n"
            f"for turn in range(20): put(path, b'%s-%d' % (name, turn), {OLD!r})"
        )
        running = [subprocess.Popen([sys.executable, "-c", program, name]) for name in "abc"]
        assert [each.wait(60) for each in running] == [0, 0, 0]
        assert sorted(users(path)) == sorted(
            b"%s-%d" % (a, turn) for a in (b"a", b"b", b"c") for turn in range(20)
        )
        assert os.listdir(path.parent) == ["users"]

    def test_one_who_waits_too_long_gives_up(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(users_edit, "_PATIENCE", 0.05)
        write(path, b"alice:%b\n" % OLD)
        with path.open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(UsersError, match="another program is changing it"):
                put(path, b"alice", NEW)
        put(path, b"alice", NEW)


def test_groups_are_kept_when_a_password_changes_and_set_without_one(path: Path) -> None:
    write(path, b"# all\nalice:%b:staff,admin\nbob:%b\n" % (OLD, OLD))
    assert put(path, b"alice", NEW) is True
    assert users(path) == {b"alice": ("staff", "admin"), b"bob": ()}
    regroup(path, b"bob", ("guests",))
    regroup(path, b"alice", ())
    assert path.read_bytes() == b"# all\nalice:%b\nbob:%b:guests\n" % (NEW, OLD)
    put(path, b"carol", NEW, ("staff",))
    assert users(path)[b"carol"] == ("staff",)
    with pytest.raises(UsersError, match='there is no user "bib"; did you mean "bob"'):
        regroup(path, b"bib", ("staff",))
