from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from forksocks.config.model import Level, LogConfig
from forksocks.host.log import Log, writer
from tests.host.log.helpers import LONG, STAMP, drain, log_on, until
from tests.machine import wait_until


@pytest.mark.parametrize("threads", [False, True])
class TestBrokenSinks:
    """Whatever the reader does, callers go on and the drops are told when there is room again."""

    def start(self, log: Log, threads: bool) -> None:
        if threads:
            log.start_writer()

    def test_a_stopped_reader(
        self, threads: bool, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "QUEUE_LINES", 50)
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

    def test_without_memory_lines_are_lost_and_the_next_is_written(
        self, threads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise MemoryError

        log = log_on(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
        self.start(log, threads)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", fail)
            for _ in range(3):
                log.notice("lost")
                log.crash(ValueError())
            wait_until(lambda: log._drops._lines > 0)  # noqa: SLF001 - nothing else shows it
        log.notice("written")
        log.close(LONG)
        text = (tmp_path / "log").read_text()
        assert " written\n" in text
        assert " log-dropped by=supervisor lines=" in text

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
        assert seconds <= writer.RETRY

    def fileno(self) -> int:
        return -1

    def replace(self, fd: int) -> None:
        os.close(fd)

    def prepare_for_sandbox(self, to: int, ask: Callable[[], object]) -> None:
        """Nothing to lift."""

    def duplicate(self) -> int:
        return -1

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
        monkeypatch.setattr(writer, "RETRY", 0.01)
        sink = Scripted(3, NO_SPACE)
        log = Log(sink, LogConfig())
        log.start_writer()
        log.notice("first")
        until(lambda: len(sink.got) == 2)
        log.close(LONG)
        assert sink.got == [b"fir", b"\nfirst\n", b"closed"]

    def test_what_a_closing_thread_gives_up_is_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "RETRY", LONG)
        sink = Scripted(NO_SPACE, NO_SPACE)
        log = Log(sink, LogConfig())
        log.start_writer()
        log.notice("first")
        until(lambda: len(sink.answers) == 1)
        log.close(LONG)
        assert sink.got == [b"log-dropped by=supervisor lines=1\n", b"closed"]

    @pytest.mark.parametrize(
        ("sent", "rest"), [(0, b"one\ntwo\n"), (4, b"two\n"), (2, b"\none\ntwo\n"), (5, b"\ntwo\n")]
    )
    def test_what_is_sent_again(self, sent: int, rest: bytes) -> None:
        assert writer.whole_lines(b"one\ntwo\n", sent) == rest

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
        drops = writer.Drops()
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        assert drops.due() == 0
        drops.add(3)
        assert drops.due() == 3
        drops.add()
        assert drops.due() == 0
        now[0] += writer.REPORT_EVERY
        assert drops.due() == 1
