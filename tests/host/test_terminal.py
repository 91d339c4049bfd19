from __future__ import annotations

import pytest

from forksocks.host.terminal import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("aé b", "aé b"),
        ("\x1b[31m", r"\x1b[31m"),
        ("a\r\n", r"a\r\n"),
        ("\udcff.toml", r"\xff.toml"),
        ("\u202e", r"\u202e"),
    ],
)
def test_nothing_moves_the_cursor(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_only_a_newline_ends_a_line() -> None:
    assert printable_lines("a\x0bb\x1cc\u2028d\ne\n") == [r"a\x0bb\x1cc\u2028d", "e"]
