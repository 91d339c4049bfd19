from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forksocks.config.model import Level, LogConfig, LogFormat
from forksocks.host import log_flood, log_sinks, log_writer
from forksocks.host.log import Log
from forksocks.host.log_flood import Flood, source
from forksocks.host.log_sinks import DescriptorSink, SyslogSink

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
LONG = 10.0  # seconds that nothing here should need


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def log_on(fd: int, **settings: object) -> Log:
    return Log(DescriptorSink(fd), LogConfig(**settings))  # type: ignore[arg-type]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe to log to (non-blocking, as `private_copy` gives it); the log closes the writing end."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    yield reading, writing
    os.close(reading)


def drain(fd: int) -> bytes:
    """What is in a pipe now."""
    got = b""
    while select.select([fd], [], [], 0)[0] and (piece := os.read(fd, 65536)):
        got += piece
    return got


def read_until_end(fd: int) -> bytes:
    got = b""
    os.set_blocking(fd, True)
    while piece := os.read(fd, 65536):
        got += piece
    return got


class TestLines:
    def test_text_begins_with_the_time_and_the_event(self, tmp_path: Path) -> None:
        log = Log.open(LogConfig(to=f"file:{tmp_path / 'log'}"))
        log.notice("listening", address="[::]:1080", backlog=4096, user=None)
        log.close(1)
        line = (tmp_path / "log").read_text()
        assert re.fullmatch(STAMP + r" listening address=\[::\]:1080 backlog=4096\n", line)

    def test_json_has_the_same_fields_and_the_level(self, tmp_path: Path) -> None:
        log = Log.open(LogConfig(to=f"file:{tmp_path / 'log'}", format=LogFormat.JSON))
        log.error("crash", id="w1-1", took=0.25, client=None)
        log.close(1)
        parsed = json.loads((tmp_path / "log").read_text())
        assert re.fullmatch(STAMP, parsed.pop("time"))
        assert parsed == {"level": "error", "event": "crash", "id": "w1-1", "took": 0.25}

    @pytest.mark.parametrize("level", Level)
    def test_a_level_includes_those_before_it(self, level: Level, tmp_path: Path) -> None:
        log = Log.open(LogConfig(to=f"file:{tmp_path / 'log'}", level=level))
        for call in (log.error, log.notice, log.info, log.debug, log.trace):
            call(call.__name__)
        log.close(1)
        events = [line.split()[1] for line in (tmp_path / "log").read_text().splitlines()]
        assert events == ["error", "notice", "info", "debug", "trace"][: level + 1]

    def test_the_time_is_utc_and_follows_the_clock(self) -> None:
        assert log_sinks.utc(0.5) == "1970-01-01T00:00:00.500Z"
        assert log_sinks.utc(1_795_492_800.123) == "2026-11-24T04:00:00.123Z"
        assert log_sinks.utc(1_795_492_801.0) == "2026-11-24T04:00:01.000Z"

    def test_a_crash_tells_where_and_never_what_was_said(self, tmp_path: Path) -> None:
        log = Log.open(LogConfig(to=f"file:{tmp_path / 'log'}"))
        try:
            {b"name": 1}[b"hunter2"]
        except KeyError as error:
            log.crash(error, id="w1-9")
        log.close(1)
        crash, at = (tmp_path / "log").read_text().splitlines()
        assert crash.endswith(" crash id=w1-9 error=KeyError")
        assert re.search(r'crash-at id=w1-9 at="test_log\.py:\d+ test_a_crash_tells', at)
        assert "hunter2" not in crash + at


class TestFile:
    def test_is_created_for_its_group_alone_and_appended_to(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        old = os.umask(0o022)
        try:
            for event in ("first", "second"):
                log = Log.open(LogConfig(to=f"file:{path}"))
                log.notice(event)
                log.close(1)
        finally:
            os.umask(old)
        assert path.stat().st_mode & 0o777 == 0o640
        assert [line.split()[1] for line in path.read_text().splitlines()] == ["first", "second"]

    def test_that_cannot_be_opened_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "missing" / "log"
        with pytest.raises(FileNotFoundError) as caught:
            Log.open(LogConfig(to=f"file:{path}"))
        assert str(path) in str(caught.value)

    def test_behind_a_symbolic_link_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "log").symlink_to(tmp_path / "passwd")
        with pytest.raises(OSError, match="symbolic link") as caught:
            Log.open(LogConfig(to=f"file:{tmp_path / 'log'}"))
        assert caught.value.errno == errno.ELOOP
        assert not (tmp_path / "passwd").exists()

    @pytest.mark.parametrize("threads", [False, True])
    def test_moved_away_is_reopened_by_all_without_losing_a_line(self, threads: bool, tmp_path: Path) -> None:
        path = tmp_path / "log"
        supervisor = Log.open(LogConfig(to=f"file:{path}"))
        child = log_on(os.dup(supervisor.fileno()))
        if threads:
            child.start_writer()
        number = child.fileno()
        child.notice("before")
        until(lambda: "before" in path.read_text())
        path.rename(tmp_path / "log.1")
        child.replace(os.dup(supervisor.reopen()))
        child.notice("after")
        supervisor.notice("too")
        assert child.fileno() == number
        child.close(LONG)
        supervisor.close(1)
        assert sorted(line.split()[1] for line in path.read_text().splitlines()) == ["after", "too"]
        assert (tmp_path / "log.1").read_text().endswith("before\n")

    def test_reopening_that_fails_keeps_the_old_one(self, tmp_path: Path) -> None:
        (tmp_path / "logs").mkdir()
        log = Log.open(LogConfig(to=f"file:{tmp_path / 'logs' / 'log'}"))
        (tmp_path / "logs").rename(tmp_path / "old")
        with pytest.raises(FileNotFoundError):
            log.reopen()
        log.notice("still")
        log.close(1)
        assert "still" in (tmp_path / "old" / "log").read_text()

    def test_lines_of_many_threads_stay_whole(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        log = Log.open(LogConfig(to=f"file:{path}", level=Level.INFO))
        log.start_writer()

        def write(n: int) -> None:
            for i in range(500):
                log.info("end", n=n, i=i, fill="x" * 99)

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.close(LONG)
        lines = path.read_text().splitlines()
        found = [re.fullmatch(STAMP + r" end n=(\d) i=(\d+) fill=x{99}", line) for line in lines]
        assert all(found)
        assert len({match.groups() for match in found if match}) == 2000


class TestStderr:
    """`private_copy`: ours may be non-blocking, the others' stays as it is."""

    def run(self, code: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
        program = (
            "import os, sys, fcntl\n"
            "from forksocks.config.model import LogConfig\n"
            "from forksocks.host.log import Log\n"
            f"{code}"
        )
        command = [sys.executable, "-c", program]
        return subprocess.run(command, text=True, timeout=60, **kwargs)  # type: ignore[call-overload, no-any-return]

    CODE = (
        "log = Log.open(LogConfig())\n"
        "log.notice('hello')\n"
        "print(fcntl.fcntl(2, fcntl.F_GETFL) & os.O_NONBLOCK)\n"
        "log.close(1)\n"
    )

    @pytest.mark.parametrize("kind", ["pipe", "terminal", "socket", "file"])
    def test_lines_arrive_and_what_is_shared_stays_blocking(self, kind: str, tmp_path: Path) -> None:
        if kind == "pipe":
            reading, writing = os.pipe()
        elif kind == "terminal":
            reading, writing = os.openpty()
        elif kind == "socket":
            ours, theirs = socket.socketpair()
            reading, writing = ours.detach(), theirs.detach()
        else:
            writing = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
            reading = os.open(tmp_path / "log", os.O_RDONLY)
        try:
            result = self.run(self.CODE, stdout=subprocess.PIPE, stderr=writing)
            got = os.read(reading, 4096).decode()
        finally:
            os.close(writing)
            os.close(reading)
        assert re.fullmatch(STAMP + r" hello\r?\n", got)
        assert result.stdout.split()[0] == "0"
        assert result.returncode == 0

    def test_that_is_closed_takes_lines_in_silence(self) -> None:
        code = "os.close(2)\nlog = Log.open(LogConfig())\nother = os.open('/dev/zero', 0)\nlog.notice('x')\n"
        result = self.run(code + "print(other, log.fileno() > 2)\n", stdout=subprocess.PIPE)
        assert result.stdout == "2 True\n"
        assert result.returncode == 0

    def test_a_stopped_reader_of_a_blocking_descriptor_stops_nobody(self) -> None:
        reading, writing = os.pipe()
        log = log_on(writing)
        os.set_blocking(writing, True)
        log._sink._look()  # type: ignore[attr-defined] # noqa: SLF001
        for _ in range(1000):
            log.notice("filler", fill="x" * 200)
        log.close(1)
        assert len(drain(reading)) > 60_000
        os.close(reading)


@pytest.mark.parametrize("threads", [False, True])
class TestBrokenSinks:
    """Whatever the reader does, callers go on and the drops are told when there is room again."""

    def start(self, log: Log, threads: bool) -> None:
        if threads:
            log.start_writer()

    def test_a_stopped_reader(
        self, threads: bool, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_writer, "QUEUE_LINES", 50)
        reading, writing = pipe
        log = log_on(writing)
        self.start(log, threads)
        began = time.monotonic()
        for number in range(1000):
            log.notice("line", number=number, fill="x" * 1000)
        assert time.monotonic() - began < LONG / 2
        got = bytearray()

        def accounted() -> int:
            reports = re.findall(rb"log-dropped by=supervisor lines=(\d+)", got)
            return got.count(b" line number=") + sum(map(int, reports))

        def told() -> bool:
            got.extend(drain(reading))
            log.notice("more")
            return accounted() >= 1000

        until(told)
        closer = threading.Thread(target=log.close, args=(LONG,))
        closer.start()
        while closer.is_alive():  # what is still queued may be more than the pipe holds
            got.extend(drain(reading))
            closer.join(0.01)
        got.extend(drain(reading))
        lines = got.decode().splitlines()
        assert all(
            re.fullmatch(STAMP + r" (line number=\d+ fill=x{1000}|more|log-dropped .*)", line)
            for line in lines
        )
        assert got.count(b" line number=") < 500

    def test_a_reader_that_went_away(self, threads: bool) -> None:
        reading, writing = os.pipe2(os.O_NONBLOCK)
        os.close(reading)
        log = log_on(writing)
        self.start(log, threads)
        for _ in range(100):
            log.notice("unheard")
        log.close(1)

    def test_a_full_disk(self, threads: bool) -> None:
        log = log_on(os.open("/dev/full", os.O_WRONLY))
        self.start(log, threads)
        for _ in range(100):
            log.notice("unwritten")
        began = time.monotonic()
        log.close(LONG)
        assert time.monotonic() - began < LONG / 2

    def test_a_closed_descriptor(self, threads: bool, tmp_path: Path) -> None:
        fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
        log = log_on(fd)
        self.start(log, threads)
        os.close(fd)
        log.notice("unwritten")
        log.close(1)

    def test_nothing_is_written_after_the_end(self, threads: bool, tmp_path: Path) -> None:
        log = log_on(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
        number = log.fileno()
        self.start(log, threads)
        log.close(LONG)
        stranger = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
        assert stranger == number
        log.notice("late")
        os.close(stranger)
        assert (tmp_path / "other").read_bytes() == b""


class Scripted:
    """A sink that does what it is told, one answer a write, then takes everything."""

    batch = 4096

    def __init__(self, *answers: int | OSError) -> None:
        self.answers = list(answers)
        self.got: list[bytes] = []

    def head(self, level: Level, now: float) -> str:
        return f"{level.name} {now:.0f} "[:0]

    def write(self, lines: bytes) -> int:
        answer = self.answers.pop(0) if self.answers else len(lines)
        if isinstance(answer, OSError):
            raise answer
        self.got.append(lines[:answer])
        return min(answer, len(lines))

    def wait(self, seconds: float) -> None:
        assert seconds <= log_writer.RETRY

    def fileno(self) -> int:
        return -1

    def replace(self, fd: int) -> None:
        os.close(fd)

    def close(self) -> None:
        self.got.append(b"closed")


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


class TestPartialWrites:
    def test_directly_a_torn_line_is_ended_and_counted(self) -> None:
        sink = Scripted(3)
        log = Log(sink, LogConfig())
        log.notice("first")
        log.notice("second")
        assert sink.got == [b"fir", b"\nsecond\n", b"log-dropped by=supervisor lines=1\n"]

    def test_a_thread_goes_on_where_a_full_sink_stopped(self) -> None:
        sink = Scripted(3, BlockingIOError(errno.EAGAIN, "later"), 2)
        log = Log(sink, LogConfig())
        log.start_writer()
        log.notice("first")
        log.close(LONG)
        assert sink.got == [b"fir", b"st", b"\n", b"closed"]

    def test_a_thread_sends_a_torn_line_again_after_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(log_writer, "RETRY", 0.01)
        sink = Scripted(3, NO_SPACE)
        log = Log(sink, LogConfig())
        log.start_writer()
        log.notice("first")
        until(lambda: len(sink.got) == 2)
        log.close(LONG)
        assert sink.got == [b"fir", b"\nfirst\n", b"closed"]

    @pytest.mark.parametrize(
        ("sent", "rest"), [(0, b"one\ntwo\n"), (4, b"two\n"), (2, b"\none\ntwo\n"), (5, b"\ntwo\n")]
    )
    def test_what_is_sent_again(self, sent: int, rest: bytes) -> None:
        assert log_writer.whole_lines(b"one\ntwo\n", sent) == rest

    def test_batches_keep_to_the_size_that_a_pipe_takes_whole(self) -> None:
        sink = Scripted()
        log = Log(sink, LogConfig())
        log.start_writer()
        for number in range(100):
            log.notice("line", number=number, fill="x" * 150)
        log.close(LONG)
        batches = sink.got[:-1]
        assert len(batches) < 50
        assert all(len(batch) <= 4096 and batch.endswith(b"\n") for batch in batches)
        assert [int(line.split()[1][7:]) for line in b"".join(batches).splitlines()] == list(range(100))

    def test_closing_gives_up_in_time(self) -> None:
        sink = Scripted(*[BlockingIOError(errno.EAGAIN, "never")] * 100_000)
        log = Log(sink, LogConfig())
        log.start_writer()
        log.notice("stuck")
        began = time.monotonic()
        log.close(0.2)
        assert time.monotonic() - began < LONG / 2

    def test_drops_are_told_once_a_second(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drops = log_writer.Drops()
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        assert drops.due() == 0
        drops.add(3)
        assert drops.due() == 3
        drops.add()
        assert drops.due() == 0
        now[0] += log_writer.REPORT_EVERY
        assert drops.due() == 1


class TestSyslog:
    @pytest.fixture
    def daemon(self, tmp_path: Path) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(tmp_path / "log"))
            daemon.settimeout(LONG)
            yield daemon

    def test_a_line_is_a_datagram_with_priority_and_program(
        self, daemon: socket.socket, tmp_path: Path
    ) -> None:
        log = Log(SyslogSink(str(tmp_path / "log")), LogConfig(to="syslog"))
        log.start_writer()
        log.error("failed", path="/x")
        log.notice("listening")
        head = rf"[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d forksocks\[{os.getpid()}\]: "
        assert re.fullmatch(f"<27>{head}failed path=/x", daemon.recv(4096).decode())
        assert re.fullmatch(f"<29>{head}listening", daemon.recv(4096).decode())
        log.close(LONG)

    def test_json_goes_there_too(self, daemon: socket.socket, tmp_path: Path) -> None:
        log = Log(SyslogSink(str(tmp_path / "log")), LogConfig(to="syslog", format=LogFormat.JSON))
        log.notice("listening")
        assert json.loads(daemon.recv(4096).decode().partition("]: ")[2])["event"] == "listening"
        log.close(1)

    def test_a_restarted_daemon_is_found_again(self, daemon: socket.socket, tmp_path: Path) -> None:
        log = Log(SyslogSink(str(tmp_path / "log")), LogConfig(to="syslog"))
        daemon.close()
        log.notice("lost")
        (tmp_path / "log").unlink()
        log.notice("lost")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
            again.bind(str(tmp_path / "log"))
            again.settimeout(LONG)
            log.notice("back")
            assert again.recv(4096).endswith(b"back")
            assert again.recv(4096).endswith(b"log-dropped by=supervisor lines=2")
        log.close(1)

    def test_a_stopped_daemon_stops_nobody(self, daemon: socket.socket, tmp_path: Path) -> None:
        log = Log(SyslogSink(str(tmp_path / "log")), LogConfig(to="syslog"))
        for _ in range(5000):
            log.notice("line")
        log._sink.wait(0)  # noqa: SLF001
        log.close(1)
        assert daemon.recv(4096).endswith(b"line")

    def test_another_descriptor_takes_its_place(self, daemon: socket.socket, tmp_path: Path) -> None:
        sink = SyslogSink(str(tmp_path / "log"))
        other = SyslogSink(str(tmp_path / "log"))
        number = sink.fileno()
        sink.replace(os.dup(other.fileno()))
        other.close()
        assert sink.fileno() == number
        assert sink.write(b"line\n") == 5
        assert daemon.recv(4096) == b"line"
        sink.close()

    def test_no_daemon_is_an_error_with_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_sinks, "SYSLOG_SOCKETS", (str(tmp_path / "none"),))
        with pytest.raises(FileNotFoundError, match="none"):
            Log.open(LogConfig(to="syslog"))


class TestFlood:
    @pytest.mark.parametrize(
        ("client", "expected"),
        [
            ("192.0.2.1:5121", "192.0.2.1"),
            ("[2001:db8:1:2:3::4]:5121", "2001:db8:1:2::/64"),
            ("[::ffff:192.0.2.1]:5121", "192.0.2.1"),
            ("[fe80::1%eth0]:1", "fe80::/64"),
            ("[nonsense]:1", "[nonsense]:1"),
            ("unix", "unix"),
        ],
    )
    def test_what_counts_as_one_source(self, client: str, expected: str) -> None:
        assert source(client) == expected

    def test_ten_lines_a_second_for_each_source_then_a_count(self) -> None:
        flood = Flood()
        assert [flood.admits("192.0.2.1:1", 5.0) for _ in range(25)] == [True] * 10 + [False] * 15
        assert flood.admits("192.0.2.2:1", 5.0)
        assert flood.settle(5.5) == []
        assert flood.settle(6.1) == [("192.0.2.1", 15)]
        assert flood.admits("192.0.2.1:1", 6.2)

    def test_the_table_is_bounded_and_nobody_is_unlimited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(log_flood, "SOURCES", 3)
        flood = Flood(2)
        admitted = [flood.admits(f"192.0.2.{number}:1", 1.0) for number in range(20)]
        assert admitted == [True] * 5 + [False] * 15
        assert flood.settle(9.0) == [(log_flood.OTHERS, 15)]

    @pytest.mark.parametrize("threads", [False, True])
    def test_only_notices_about_a_client_are_limited(self, threads: bool, tmp_path: Path) -> None:
        path = tmp_path / "log"
        log = Log.open(LogConfig(to=f"file:{path}", level=Level.INFO))
        if threads:
            log.start_writer(sharers=2)
        for _ in range(50):
            log.notice("auth-failed", client="203.0.113.9:4", user="bob")
            log.notice("worker-ended", number=1)
            log.info("end", client="203.0.113.9:4")
        log.close(LONG)
        text = path.read_text()
        limit = 5 if threads else 10
        assert limit <= text.count("auth-failed") <= 2 * limit  # a second may have begun meanwhile
        assert (
            sum(map(int, re.findall(r"log-limited source=203\.0\.113\.9 lines=(\d+)", text)))
            + text.count("auth-failed")
            == 50
        )
        assert text.count("worker-ended") == text.count(" end ") == 50


def test_a_pipe_is_opened_anew_but_a_file_is_not(tmp_path: Path, pipe: tuple[int, int]) -> None:
    blocking, writing = os.pipe()
    ours = log_sinks.private_copy(writing)
    assert fcntl.fcntl(ours, fcntl.F_GETFL) & os.O_NONBLOCK
    assert not fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK
    file = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    copy = log_sinks.private_copy(file)
    os.write(file, b"one")
    os.write(copy, b"two")
    assert (tmp_path / "file").read_bytes() == b"onetwo"  # one offset, as the shell's `2>file` has it
    for fd in (blocking, writing, ours, file, copy, pipe[1]):
        os.close(fd)
