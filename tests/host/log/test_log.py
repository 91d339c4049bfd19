from __future__ import annotations

import errno
import json
import os
import re
import threading
from pathlib import Path

import pytest

from forksocks.config.model import Level, LogConfig, LogFormat
from forksocks.host.log import Log, sinks
from tests.host.log.helpers import LONG, STAMP, log_on, until


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
        assert sinks.utc(0.5) == "1970-01-01T00:00:00.500Z"
        assert sinks.utc(1_795_492_800.123) == "2026-11-24T04:00:00.123Z"
        assert sinks.utc(1_795_492_801.0) == "2026-11-24T04:00:01.000Z"

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
