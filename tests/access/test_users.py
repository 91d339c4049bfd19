from __future__ import annotations

import itertools
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.access import hashes
from forksocks.access.hashes import Parameters, hashed
from forksocks.access.users import (
    MOST_GROUPS,
    Users,
    UsersError,
    decoded_name,
    encoded_name,
    open_users,
    read_groups,
)

CHEAP = Parameters(memory=8, passes=1, lanes=1)
DEARER = Parameters(memory=16, passes=2, lanes=2)
A_HASH = hashed(b"secret", CHEAP)


def write(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def read(path: Path) -> Users:
    fd = open_users(path)
    try:
        return Users.read(fd, str(path))
    finally:
        os.close(fd)


def refusal(path: Path) -> str:
    with pytest.raises(UsersError) as caught:
        read(path)
    assert A_HASH.decode() not in str(caught.value)
    return str(caught.value)


def test_users_are_read_and_verified(tmp_path: Path) -> None:
    content = b"# staff\n\nalice:%b\n  \nb%%C3%%B6b%%3a:%b\n" % (A_HASH, hashed(b"\0\xff:", CHEAP))
    made = read(write(tmp_path / "users", content))
    assert len(made) == 2
    assert made.verify(b"alice", b"secret")
    assert made.verify("böb:".encode(), b"\0\xff:")
    assert not made.verify(b"alice", b"Secret")
    assert not made.verify(b"Alice", b"secret")
    assert not made.verify(b"alice", b"")
    assert not made.verify(b"", b"secret")


def of_others(path: Path) -> str:
    """Why a server of ours and root's does not take it."""
    with pytest.raises(UsersError) as caught:
        open_users(path, {0, os.geteuid()})
    return str(caught.value)


def test_a_directory_that_others_can_write(tmp_path: Path) -> None:
    users = write(tmp_path / "users", b"")
    for mode, who in ((0o777, "others"), (0o770, "its group"), (0o702, "others")):
        tmp_path.chmod(mode)
        assert (
            f"{who} can write the directory that it is in; to mend this: chmod go-w {tmp_path}"
            in of_others(users)
        )
    for mode in (0o1777, 0o755):  # with the sticky bit nobody replaces another's file
        tmp_path.chmod(mode)
        os.close(open_users(users, {0, os.geteuid()}))
    tmp_path.chmod(0o777)
    os.close(open_users(users))  # to change it is no harm


def test_a_file_of_another_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = write(tmp_path / "users", b"")
    real = os.stat

    def of_somebody(path: Path) -> os.stat_result:
        found = list(real(path))
        found[stat.ST_UID] = 12345
        return os.stat_result(found)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", of_somebody)
        assert f"{tmp_path} belongs to account 12345, which could change it" in of_others(users)
        os.close(open_users(users, {os.geteuid(), 12345}))
    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", lambda fd: of_somebody(users))
        assert f"{users} belongs to account 12345, which could change it" in of_others(users)


def test_the_last_line_may_lack_its_newline(tmp_path: Path) -> None:
    assert read(write(tmp_path / "users", b"alice:" + A_HASH)).verify(b"alice", b"secret")


def test_a_file_cut_anywhere_in_a_line_is_refused(tmp_path: Path) -> None:
    whole = b"alice:%b\nbob:%b" % (A_HASH, A_HASH)
    first = len(b"alice:%b\n" % A_HASH)
    for end in [*range(1, first - 1), *range(first + 1, len(whole))]:
        assert "users:" in refusal(write(tmp_path / "users", whole[:end]))


def test_an_empty_file_is_nobody(tmp_path: Path) -> None:
    made = read(write(tmp_path / "users", b""))
    assert len(made) == 0
    assert not made.verify(b"alice", b"secret")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"alice\n", "users:1: has no colon; a line is name:hash"),
        (b"# x\n:%b\n" % A_HASH, "users:2: the name is not written as it should be"),
        (b"al ice:%b\n" % A_HASH, "users:1: the name is not"),
        (b"al\xc3\xa9:%b\n" % A_HASH, "users:1: the name is not"),
        (b"al%%4:%b\n" % A_HASH, "users:1: the name is not"),
        (b"al%%zz:%b\n" % A_HASH, "users:1: the name is not"),
        (b"%b:%b\n" % (b"x" * 256, A_HASH), "users:1: the name is not"),
        (b"alice:%b\r\n" % A_HASH, "users:1: ends with a carriage return"),
        (b"alice:%b \n" % A_HASH, 'users:1: what should be the hash of "alice" is cut short or damaged'),
        (b"alice:hunter2\n", 'users:1: what should be the hash of "alice" is no hash; allowed are Argon2id'),
        (
            b"alice:%b\n#\na%%6Cice:%b\n" % (A_HASH, A_HASH),
            'users:3: "alice" is already in line 1; a user has one line',
        ),
        (b"a:%b\n" % A_HASH.replace(b"m=8,", b"m=999999,"), "costs 976 MiB to check; allowed are"),
    ],
    ids=itertools.count(),  # the hash differs in each of pytest-xdist's processes, which must agree on names
)
def test_one_wrong_line_refuses_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    text = refusal(write(tmp_path / "users", content))
    assert message in text
    assert "hunter2" not in text


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o660])
def test_a_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "users", b"alice:%b\n" % A_HASH, mode)
    assert f"can write it; to mend this: chmod go-w {path}" in refusal(path)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400])
def test_a_file_that_others_can_only_read_is_accepted(tmp_path: Path, mode: int) -> None:
    assert len(read(write(tmp_path / "users", b"alice:%b\n" % A_HASH, mode))) == 1


def test_links_fifos_directories_and_missing_files_are_refused(tmp_path: Path) -> None:
    target = write(tmp_path / "users", b"")
    (tmp_path / "link").symlink_to(target)
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "is a symbolic link; name the file itself" in refusal(tmp_path / "link")
    assert "is not a regular file" in refusal(tmp_path / "fifo")
    assert "is not a regular file" in refusal(tmp_path)
    make = f"no such file; make it with: forksocksctl passwd {tmp_path}/none NAME"
    assert make in refusal(tmp_path / "none")
    assert "Not a directory" in refusal(target / "below")


def test_a_path_is_shown_without_control_characters(tmp_path: Path) -> None:
    assert r"\x1b[2J\n" in refusal(tmp_path / "\x1b[2J\n")


def test_a_file_of_ten_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = write(tmp_path / "users", b"")
    os.truncate(path, 10 << 30)
    assert "has 10737418240 bytes; the most is 16777216" in refusal(path)


def test_a_file_that_grows_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "users", b"#" * 1000)
    monkeypatch.setattr(os, "pread", lambda *_: b"#" * (1 << 20))
    assert "grows while it is read" in refusal(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    path = write(tmp_path / "users", b"#")
    monkeypatch.setattr(os, "pread", fails)
    assert "cannot be read (Input/output error)" in refusal(path)


@given(st.binary(min_size=1, max_size=255))
def test_any_name_can_be_written_and_read_back(name: bytes) -> None:
    written = encoded_name(name)
    assert written.isascii()
    assert written.isprintable()
    assert not set(written) & set(" :#")
    assert decoded_name(written.encode()) == name


class TestCost:
    """A name that does not exist costs what one that does costs: counted, since times are noise."""

    @pytest.fixture
    def checked(self, monkeypatch: pytest.MonkeyPatch) -> list[Parameters]:
        computed: list[Parameters] = []
        real = hashes._computed  # noqa: SLF001 - the one place where time is spent

        def counted(password: bytes, salt: bytes, cost: Parameters) -> bytes:
            computed.append(cost)
            return real(password, salt, cost)

        monkeypatch.setattr(hashes, "_computed", counted)
        return computed

    @pytest.mark.parametrize("name", [b"alice", b"nobody", b"", b"\xff" * 255])
    def test_every_name_costs_one_hash_of_equal_parameters(
        self, checked: list[Parameters], name: bytes
    ) -> None:
        assert not Users({b"alice": A_HASH, b"bob": A_HASH}).verify(name, b"wrong")
        assert checked == [CHEAP]

    def test_the_password_of_the_hash_that_is_tried_instead_is_not_accepted(self) -> None:
        made = Users({b"alice": A_HASH})
        assert made.verify(b"alice", b"secret")
        assert not made.verify(b"mallory", b"secret")

    def test_unknown_names_spread_over_the_costs_in_use_each_always_the_same(
        self, checked: list[Parameters]
    ) -> None:
        content = {b"alice": A_HASH, b"bob": hashed(b"x", DEARER)}
        for made in (Users(content), Users(content)):
            for number in range(40):
                made.verify(b"nobody%d" % number, b"wrong")
        assert checked[:40] == checked[40:]
        assert set(checked) == {CHEAP, DEARER}

    def test_an_empty_file_costs_a_hash_as_well(
        self, checked: list[Parameters], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert not Users({}).verify(b"alice", b"wrong")
        assert checked == [hashes.STANDARD]
        monkeypatch.setattr(hashes, "matches", lambda *_: True)
        assert not Users({}).verify(b"alice", b"whatever the hash would match")


def test_groups_stand_behind_the_hash(tmp_path: Path) -> None:
    path = write(tmp_path / "users", b"alice:" + A_HASH + b":staff,a-1,staff\nbob:" + A_HASH + b"\n")
    made = read(path)
    assert made.groups(b"alice") == ("staff", "a-1")
    assert made.groups(b"bob") == made.groups(b"mallory") == ()
    assert made.verify(b"alice", b"secret")


@pytest.mark.parametrize(
    "groups", [b"", b"staff,", b",staff", b"a b", b"-x", b"x" * 33, b"a:b", "\u00e9".encode()]
)
def test_groups_that_are_no_names_refuse_the_file(tmp_path: Path, groups: bytes) -> None:
    path = write(tmp_path / "users", b"alice:" + A_HASH + b":" + groups + b"\n")
    with pytest.raises(UsersError, match=r'users:1: the groups of "alice" are not written as they should be'):
        read(path)


def test_more_groups_than_a_login_can_carry_are_refused() -> None:
    assert read_groups(",".join(f"g{n}" for n in range(MOST_GROUPS))) is not None
    assert read_groups(",".join(f"g{n}" for n in range(MOST_GROUPS + 1))) is None
