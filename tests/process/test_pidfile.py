from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from forksocks.process import pidfile
from forksocks.process.pidfile import PidFileError, held

HOLDER = """
import sys
from pathlib import Path
from forksocks.process.pidfile import PidFileError, held
try:
    with held(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
except PidFileError as error:
    print(error, flush=True)
"""


@contextmanager
def holder(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that holds the file, or says why it does not."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().rstrip("\n")
        finally:
            process.kill()


def test_it_holds_our_number_and_goes_with_us(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with held(path):
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o777 == 0o644
    assert not path.exists()


def test_it_is_removed_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(tmp_path / "pid"):
        raise ZeroDivisionError
    assert not (tmp_path / "pid").exists()


def test_a_second_server_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with holder(path) as (first, said):
        assert said == "held"
        with pytest.raises(PidFileError) as caught, held(path):
            pass
        assert str(caught.value) == f"pid file {path}: held by process {first.pid}, which is running already"
        assert path.read_text() == f"{first.pid}\n"


def test_a_killed_servers_file_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with holder(path) as (first, _):
        first.kill()
        first.wait()
        assert path.exists()
        with held(path):
            assert path.read_text() == f"{os.getpid()}\n"


def test_children_do_not_hold_it(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    reader, writer = os.pipe()
    with held(path):
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)  # until the test is over
            os._exit(0)
    try:
        with holder(path) as (_, said):
            assert said == "held"
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


def test_a_child_that_leaves_the_block_does_not_remove_it(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    try:
        with held(path):
            child = os.fork()
            if child == 0:
                raise SystemExit  # leaves the block as the owner does
            os.waitpid(child, 0)
            assert path.exists()
            with holder(path) as (_, said):
                assert f"held by process {os.getpid()}" in said
    except SystemExit:
        os._exit(0)


def test_another_files_owner_is_not_robbed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with held(path):
        path.unlink()
        path.write_text("1\n")
    assert path.read_text() == "1\n"


@pytest.mark.parametrize("content", ["# a configuration\n", "12x\n", "1" * 65, "1\n2\n"])
def test_a_file_that_is_no_pid_file_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pid"
    path.write_text(content)
    with pytest.raises(PidFileError, match="holds no process number"), held(path):
        pass
    assert path.read_text() == content


@pytest.mark.parametrize("content", ["", "4711", "4711\n", "99999999999\n\n"])
def test_a_stale_file_is_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pid"
    path.write_text(content)
    with held(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("1\n")
    path = tmp_path / "pid"
    for where in (target, tmp_path / "nowhere"):
        path.symlink_to(where)
        with pytest.raises(PidFileError, match="it is a symbolic link"), held(path):
            pass
        path.unlink()
    assert target.read_text() == "1\n"


def test_a_hard_link_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("1\n")
    path = tmp_path / "pid"
    path.hardlink_to(target)
    with pytest.raises(PidFileError, match="not only ours"), held(path):
        pass
    assert target.read_text() == "1\n"


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    os.mkfifo(path)
    with pytest.raises(PidFileError, match="not a regular file"), held(path):
        pass


def test_a_missing_directory(tmp_path: Path) -> None:
    with pytest.raises(PidFileError, match="No such file or directory"), held(tmp_path / "no" / "pid"):
        pass


def test_root_writes_only_where_others_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    tmp_path.chmod(0o777)
    with pytest.raises(PidFileError, match="can be written by others than root"), held(tmp_path / "pid"):
        pass


def test_a_file_that_vanishes_between_open_and_lock_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pid"
    path.write_text("4711\n")
    lock = pidfile._lock  # noqa: SLF001

    def robbed(fd: int, where: Path) -> None:
        monkeypatch.setattr(pidfile, "_lock", lock)
        where.unlink()
        lock(fd, where)

    monkeypatch.setattr(pidfile, "_lock", robbed)
    with held(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_endless_replacing_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pidfile, "_lock", lambda _fd, path: path.unlink())
    with pytest.raises(PidFileError, match="others keep replacing it"), held(tmp_path / "pid"):
        pass
