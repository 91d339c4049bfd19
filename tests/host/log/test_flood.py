from __future__ import annotations

import re
from pathlib import Path

import pytest

from forksocks.config.model import Level, LogConfig
from forksocks.host.log import Log
from forksocks.host.log.flood import OTHERS, Flood, source
from tests.host.log.helpers import LONG


class TestFlood:
    @pytest.mark.parametrize(
        ("client", "expected"),
        [
            ("192.0.2.1:5121", "192.0.2.1"),
            ("[2001:db8:1:2:3::4]:5121", "2001:db8:1:2::/64"),
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
        monkeypatch.setattr("forksocks.host.log.flood.SOURCES", 3)
        flood = Flood(2)
        admitted = [flood.admits(f"192.0.2.{number}:1", 1.0) for number in range(20)]
        assert admitted == [True] * 5 + [False] * 15
        assert flood.settle(9.0) == [(OTHERS, 15)]

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
