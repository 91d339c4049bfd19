"""forksocksctl as a user meets it: processes, exit codes, what they print."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forksocks import __version__, ctl
from forksocks.access.hashes import Parameters, hashed
from forksocks.access.users import Users, open_users
from forksocks.verbs import passwd
from tests.terminal import Typist

COMMAND = (sys.executable, "-m", "forksocks.ctl")
CHEAP = Parameters(memory=8, passes=1, lanes=1)
A_HASH = hashed(b"secret", CHEAP)


def control(*arguments: str | bytes | Path, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([*COMMAND, *arguments], input=given, capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr
    return done


def verifies(path: Path, name: bytes, password: bytes) -> bool:
    fd = open_users(path)
    try:
        return Users.read(fd, str(path)).verify(name, password)
    finally:
        os.close(fd)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_bytes(b"# staff\nalice:%b\nb%%0Ab:%b\n" % (A_HASH, A_HASH))
    path.chmod(0o640)
    return path


def person_at(*arguments: str | Path) -> Typist:
    return Typist([*COMMAND, *map(str, arguments)])


def test_a_password_typed_twice_is_set_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "users"
    person = person_at("passwd", path, "alice")
    person.expect(b"New password for alice: ")
    person.type("pässword\n".encode())
    person.expect(b"The same again: ")
    person.type("pässword\n".encode())
    assert person.end() == 0
    assert b"alice: password set in " in person.seen
    assert b"ssword\r" not in person.seen
    assert path.stat().st_mode & 0o777 == 0o600
    assert verifies(path, b"alice", "pässword".encode())


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ([b"one\n", b"two\n"], b"the two passwords differ; nothing was changed"),
        ([b"\n"], b"the password is empty"),
        ([b"\x04"], b"no password was typed; nothing was changed"),
        ([b"\x03"], b"interrupted"),
        ([b"one\n", b"\x03"], b"interrupted"),
        ([b"\xff\xfe\n"], b"not valid UTF-8; --stdin takes any bytes"),
    ],
)
def test_what_a_person_may_type_otherwise_changes_nothing(users: Path, keys: list[bytes], why: bytes) -> None:
    before = users.read_bytes()
    person = person_at("passwd", users, "alice")
    for prompt, key in zip((b"New password for alice: ", b"The same again: "), keys, strict=False):
        person.expect(prompt)
        person.type(key)
    assert person.end(again=key if key == b"\x03" else b"") == 1
    assert why in person.seen
    assert users.read_bytes() == before


def test_a_file_that_will_be_refused_is_refused_before_the_prompt(users: Path) -> None:
    users.chmod(0o620)
    person = person_at("passwd", users, "alice")
    assert person.end() == 1
    assert b"to mend this: chmod go-w" in person.seen
    assert b"New password" not in person.seen


@pytest.mark.parametrize("given", [b"secret 2", b"secret 2\n"])
def test_a_password_comes_from_standard_input(users: Path, given: bytes) -> None:
    done = control("passwd", "--stdin", users, "alice", given=given)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"alice: password changed in %b\n" % bytes(users)
    assert verifies(users, b"alice", b"secret 2")
    assert users.stat().st_mode & 0o777 == 0o640
    assert users.read_bytes().startswith(b"# staff\nalice:$argon2id$v=19$m=65536,t=3,p=4$")


class TestCommand:
    """In this process, with cheap hashes: what each call says and returns."""

    @pytest.fixture(autouse=True)
    def cheap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(passwd, "hashed", lambda password: hashed(password, CHEAP))

    @pytest.fixture
    def run(
        self, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
    ) -> Callable[..., tuple[int, bytes, bytes]]:
        def call(*arguments: str | bytes | Path, given: bytes = b"") -> tuple[int, bytes, bytes]:
            source = tmp_path / "standard-input"
            source.write_bytes(given)
            with source.open() as stdin:
                monkeypatch.setattr(sys, "stdin", stdin)
                status = ctl.main([os.fsdecode(argument) for argument in arguments])
            out, err = capfdbinary.readouterr()
            return status, out, err

        return call

    @pytest.mark.parametrize("size", [1, 255])
    def test_passwords_and_names_of_any_bytes(
        self, run: Callable[..., tuple[int, bytes, bytes]], users: Path, size: int
    ) -> None:
        name, password = b"\xff" * size, b"\0" * size
        status, out, _ = run("passwd", "--stdin", users, name, given=password + b"\n")
        assert status == 0
        assert out.startswith(b"%FF" * size + b": password set")
        assert verifies(users, name, password)

    def test_groups_are_set_with_a_password_and_without(
        self, run: Callable[..., tuple[int, bytes, bytes]], users: Path
    ) -> None:
        status, _, _ = run("passwd", "--stdin", "--groups", "staff,admin", users, "carol", given=b"secret\n")
        assert status == 0
        assert b"carol staff,admin\n" in run("passwd", "--list", users)[1]
        status, out, _ = run("passwd", users, "carol", "--groups", "guests")
        assert (status, out) == (0, b"carol: groups guests in " + os.fsencode(users) + b"\n")
        assert run("passwd", users, "carol", "--groups", "")[1].startswith(b"carol: groups none")
        assert b"carol\n" in run("passwd", "--list", users)[1]
        assert verifies(users, b"carol", b"secret")

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            (b"", b"the password is empty; it has 1 to 255 bytes"),
            (b"\n", b"the password is empty"),
            (b"x" * 256, b"more than 255 bytes"),
            (b"x" * 256 + b"\n", b"more than 255 bytes"),
            (b"x" * 100_000, b"more than 255 bytes"),
            (b"canary\ncanary\n", b"more than one line"),
        ],
    )
    def test_other_passwords_are_refused_and_not_repeated(
        self, run: Callable[..., tuple[int, bytes, bytes]], users: Path, given: bytes, why: bytes
    ) -> None:
        before = users.read_bytes()
        status, out, err = run("passwd", "--stdin", users, "alice", given=given)
        assert (status, out) == (1, b"")
        assert why in err
        assert b"canary" not in err
        assert users.read_bytes() == before

    @pytest.mark.parametrize(
        ("arguments", "why"),
        [
            ([], b"arguments are required: VERB"),
            (["pass"], b'explain, passwd; did you mean "passwd"?'),
            (
                ["show", "tunels"],
                b'listeners, rules, tunnel, tunnels, users, workers; did you mean "tunnels"?',
            ),
            (["show", "tunnels", "--sokcet", "x"], b"usage: forksocksctl show"),
            (["show", "tunnels", "--socket", "x", "alice"], b"a filter is FIELD=VALUE, not alice"),
            (["passwd", "FILE", "--list", "alice"], b"--list takes no NAME"),
            (["\x1b[2J"], rb"\x1b[2J"),
            (["passwd"], b"required: FILE"),
            (["passwd", "FILE"], b"NAME is missing"),
            (["passwd", "--delete", "FILE"], b"NAME is missing"),
            (["passwd", "--list", "FILE", "alice"], b"--list takes no NAME"),
            (["passwd", "--list", "--delete", "FILE", "alice"], b"not allowed with"),
            (["passwd", "FILE", "alice", "b\x1b[2Jb"], rb"not understood: b\x1b[2Jb"),
            (["passwd", "--list", "--groups", "a", "FILE"], b"--groups goes with a NAME"),
            (["passwd", "--groups", "a,,b", "FILE", "alice"], b"--groups: write at most 32 groups"),
            (["passwd", "--stdin", "FILE", ""], b"NAME has 0 bytes; it has to have 1 to 255"),
            (["passwd", "--stdin", "FILE", "x" * 256], b"NAME has 256 bytes"),
            (
                ["passwd", "FILE", "alice"],
                b"standard input is no terminal; to read the password from it, say --stdin",
            ),
        ],
    )
    def test_wrong_usage_is_2(
        self, run: Callable[..., tuple[int, bytes, bytes]], users: Path, arguments: list[str], why: bytes
    ) -> None:
        before = users.read_bytes()
        status, out, err = run(*(str(users) if each == "FILE" else each for each in arguments))
        assert (status, out) == (2, b"")
        assert why in err
        assert b"\x1b" not in err
        assert users.read_bytes() == before

    @pytest.mark.parametrize(
        ("given", "password"),
        [(b"s3cret\r\n", b"s3cret"), (b"s3cret\n", b"s3cret"), (b"s3\r", b"s3\r"), (b"s3\r\r\n", b"s3\r")],
    )
    def test_one_line_end_is_not_part_of_the_password(
        self, users: Path, given: bytes, password: bytes
    ) -> None:
        assert control("passwd", users, "carol", "--stdin", given=given).returncode == 0
        assert verifies(users, b"carol", password)

    def test_names_are_listed_and_deleted(
        self, run: Callable[..., tuple[int, bytes, bytes]], users: Path
    ) -> None:
        assert run("passwd", "--list", users) == (0, b"alice\nb%0Ab\n", b"")
        assert run("passwd", "--delete", users, "b\nb") == (
            0,
            b"b%%0Ab deleted from %b\n" % bytes(users),
            b"",
        )
        assert run("passwd", "--list", users) == (0, b"alice\n", b"")
        status, _, err = run("passwd", "--delete", users, "alicia")
        assert status == 1
        assert err.endswith(b'there is no user "alicia"; did you mean "alice"?\n')

    @pytest.mark.parametrize("place", ["", "none/users", "users/below", "link", "\x1b[2J/users", "x" * 300])
    @pytest.mark.parametrize("how", ["--stdin", "--delete", "--list"])
    def test_files_that_cannot_be_used_are_refused(
        self, run: Callable[..., tuple[int, bytes, bytes]], users: Path, place: str, how: str
    ) -> None:
        (users.parent / "link").symlink_to(users)
        name = [] if how == "--list" else ["alice"]
        status, out, err = run("passwd", how, users.parent / place, *name, given=b"secret")
        assert (status, out) == (1, b"")
        assert err.startswith(b"forksocksctl: /")
        assert err.count(b"\n") == 1
        assert b"\x1b" not in err

    def test_a_path_with_nul_is_refused(self, run: Callable[..., tuple[int, bytes, bytes]]) -> None:
        assert run("passwd", "--list", "a\0b")[0] == 2

    def test_a_file_that_everyone_can_read_is_warned_of(
        self, run: Callable[..., tuple[int, bytes, bytes]], users: Path
    ) -> None:
        users.chmod(0o644)
        status, _, err = run("passwd", "--stdin", users, "alice", given=b"secret")
        assert status == 0
        assert b"everyone can read the hashes; to mend this: chmod o-r" in err

    def test_too_little_memory_is_an_error_of_one_line(
        self, run: Callable[..., tuple[int, bytes, bytes]], users: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(_: bytes) -> bytes:
            raise MemoryError("not enough memory to hash the password")

        monkeypatch.setattr(passwd, "hashed", fails)
        assert run("passwd", "--stdin", users, "alice", given=b"secret") == (
            1, b"", b"forksocksctl: not enough memory to hash the password\n"
        )  # fmt: skip

    def test_help_and_version(self, run: Callable[..., tuple[int, bytes, bytes]]) -> None:
        assert run("--version") == (0, b"forksocksctl %b\n" % __version__.encode(), b"")
        status, out, _ = run("passwd", "--help")
        assert status == 0
        assert b"examples:\n  forksocksctl passwd /etc/forksocks/users alice\n" in out
        assert max(map(len, out.splitlines())) <= 80


def test_output_that_cannot_be_written_is_no_traceback(users: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "passwd", "--list", users],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"forksocksctl: No space left on device\n")


def test_a_reader_that_has_gone_is_no_traceback(users: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as gone:
        done = subprocess.run(
            [*COMMAND, "passwd", "--list", users],
            stdout=gone,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_closed_descriptors_are_no_traceback(users: Path) -> None:
    script = 'exec "$@" <&- >&- 2>&-'
    arguments = ["sh", "-c", script, "sh", *COMMAND, "passwd", "--stdin", str(users), "alice"]
    assert subprocess.run(arguments, timeout=60, check=False).returncode == 1
    arguments = ["sh", "-c", script, "sh", *COMMAND, "passwd", "--delete", str(users), "alice"]
    assert subprocess.run(arguments, timeout=60, check=False).returncode == 0
    assert b"alice" not in users.read_bytes()
