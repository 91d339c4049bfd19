from __future__ import annotations

import pytest

from forksocks.verbs.top.cells import FINE, PLAIN, fitted, sparkline, width


@pytest.mark.parametrize(
    ("text", "cells"), [("alice", 5), ("", 0), ("日本", 4), ("e\u0301", 1), ("é", 1), ("\uff46", 2)]
)
def test_how_many_cells_a_text_takes(text: str, cells: int) -> None:
    assert width(text) == cells


@pytest.mark.parametrize(
    ("text", "room", "shown"),
    [("alice", 7, "alice  "), ("alice", 5, "alice"), ("alice", 4, "ali…"), ("alice", 1, "…"),
     ("alice", 0, ""), ("日本語", 6, "日本語"), ("日本語", 5, "日本…"), ("日本語", 4, "日… ")],
)  # fmt: skip
def test_a_text_takes_exactly_its_room(text: str, room: int, shown: str) -> None:
    assert fitted(text, room, FINE) == shown
    assert width(shown) == room


def test_what_is_cut_is_marked_where_it_is() -> None:
    assert fitted("12", 5, FINE, right=True) == "   12"
    assert fitted("mail.example.com:443", 9, FINE, keep_end=True) == "….com:443"
    assert fitted("mail.example.com:443", 9, PLAIN) == "mail.exa~"


def test_a_sparkline_is_measured_by_the_largest_it_shows() -> None:
    assert sparkline([0, 1, 2, 4, 8], 5, FINE) == "▁▂▃▅█"
    assert sparkline([99, 0, 7, 7], 3, FINE) == "▁██", "what has moved out of sight does not count"
    assert sparkline([1], 4, PLAIN) == "   #"
    assert sparkline([0, 0], 2, PLAIN) == "__"
    assert sparkline([1, 1_000_000], 2, PLAIN) == ".#", "whatever is not 0 can be told from it"
    assert sparkline([1, 2], 0, FINE) == sparkline([], 0, FINE) == ""
