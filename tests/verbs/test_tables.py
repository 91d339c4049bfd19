from __future__ import annotations

import pytest

from forksocks.verbs.tables import age, printable, size, table


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"), (812, "812 B"), (999, "999 B"), (1000, "0.98 K"), (1024, "1.00 K"), (19220, "18.8 K"),
        (10**6, "977 K"), (5 * 2**30, "5.00 G"), (2**64, "16384 P"),
    ],
)  # fmt: skip
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (3.21, "3.2s"), (250, "4m10s"), (18180, "5h03m"), (12 * 86400 + 4 * 3600, "12d4h")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_a_table() -> None:
    text = table(("NAME", "N"), [("a", "1"), ("long one", "100")], frozenset({"N"}))
    assert text == "NAME        N\na           1\nlong one  100\n"
    assert table(("NAME", "N"), []) == "NAME  N\n"


@pytest.mark.parametrize(("text", "shown"), [("", "-"), ("a\x1b[2J\n", "a\\x1b[2J\\n"), ("ok", "ok")])
def test_what_a_terminal_gets(text: str, shown: str) -> None:
    assert printable(text) == shown
