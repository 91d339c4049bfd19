from __future__ import annotations

import pytest

from forksocks.verbs.top.cells import FINE, PLAIN, Glyphs, width
from forksocks.verbs.top.model import Model
from forksocks.verbs.top.picture import (
    LEAST_COLUMNS,
    LEAST_ROWS,
    Style,
    page_height,
    picture,
)
from tests.verbs.top.looks import look, press, row, seen, status

SIZES = [(24, 80), (60, 200), (LEAST_ROWS, LEAST_COLUMNS), (29, 119), (30, 120), (50, 41)]


def texts(model: Model, rows: int = 24, columns: int = 80, glyphs: Glyphs = FINE) -> list[str]:
    lines = picture(model, rows, columns, glyphs)
    assert len(lines) == rows
    found = ["".join(text for text, _ in line) for line in lines]
    assert all(width(text) in (0, columns) for text in found), "a line is whole or empty"
    return found


def style_of(model: Model, text: str) -> Style:
    (found,) = {
        style for line in picture(model, 24, 200, FINE) for each, style in line if each.strip() == text
    }
    return found


@pytest.mark.parametrize(("rows", "columns"), SIZES)
@pytest.mark.parametrize("glyphs", [FINE, PLAIN])
@pytest.mark.parametrize("names", [(), ("a", "b"), tuple("abcdefghijklmnopqrstuvwxyz" * 4)])
def test_every_state_fits_every_size(rows: int, columns: int, glyphs: Glyphs, names: tuple[str, ...]) -> None:
    model = Model("rate", {})
    model.resize(page_height(rows))
    texts(model, rows, columns, glyphs)
    ends = {f"cause-{number}": 10**number for number in range(30)}
    for second in range(3):
        shown = [row(name, user="日本語" * 9, to="x" * 100) for name in names[: model.page]]
        totals = {**status()["totals"], "ends": ends, "up": 10**18 * second}
        model.take(look(model, shown, len(names), float(second), totals=totals, version="1" * 30))
    for keys in ("", "s", "r", "f", "/", "x" * 150, "\n", "k", "n", "w", "l", "u", "c"):
        press(model, *keys)
        texts(model, rows, columns, glyphs)


def test_eighty_by_twenty_four() -> None:
    model = seen("w1-69255e41-7f", "w1-69255e41-80", page=18)
    shown = texts(model)
    assert shown[0].startswith("forksocks 1.2 · running · up 1h01m · generation 2")
    assert shown[0].endswith("1 workers, 9 of 50 threads")
    assert shown[1].split() == ["clients", "2.5/s", "3", "open,", "30", "in", "all"]
    assert shown[2].split() == ["up", "1.00", "K/s", "2.00", "K", "in", "all"]
    assert shown[4].split() == ["USER", "CLIENT", "TARGET", "AGE", "UP/s", "DOWN/s", "TOTAL", "RTT", "ms"]
    assert shown[5].split() == [
        "alice", "192.0.2.1", "example.com:443", "1m01s", "-", "1.43", "M", "1.91", "M", "0.2/38",
    ]  # fmt: skip
    assert shown[-1].startswith("2 by rate▾  / filter  s sort")
    assert "q quit" in shown[-1]


def test_a_large_screen_has_all_columns_and_the_endings() -> None:
    shown = texts(seen("w1-69255e41-7f", page=50), 60, 200)
    assert shown[4].split() == ["ended", "7", "denied,", "2", "idle"]
    assert shown[6].split()[0] == "w1-69255e41-7f"
    assert "staff" in shown[6]


def test_what_stands_out() -> None:
    model = seen("a", "b", page=18)
    press(model, "KEY_DOWN")
    assert style_of(model, "running") == Style.GOOD
    assert style_of(model, "1.43 M") == Style.GOOD
    assert style_of(model, "DOWN/s") == Style.SORTED
    assert style_of(model, "AGE") == Style.HEAD
    model.take(look(model, [row("a", state="resolve"), row("b")], at=1.0, state="stopping"))
    assert style_of(model, "resolve") == style_of(model, "stopping") == Style.WARN
    selected = [line for line in picture(model, 24, 80, FINE) if line and line[0][1] is Style.SELECTED]
    assert len(selected) == 1


def test_what_the_last_line_says() -> None:
    model = seen(*"abcdefgh", page=5)
    model.take(look(model, [row(name) for name in "abcde"], fit=8))
    press(model, "r", "/", *"user=alice", "\n")
    assert texts(model, 11)[-1].startswith("1-5 of 8 by rate▴ user=alice  / filter")
    press(model, "f")
    assert texts(model, 11)[-1].startswith("FROZEN 1-5 of 8")
    press(model, "/", *"bob")
    assert texts(model)[-1].startswith("filter: user=alicebob")
    press(model, "\x1b", "k")
    assert texts(model)[-1].startswith("end a of alice to example.com:443? y/n")
    press(model, "n")
    assert texts(model)[-1].startswith("nothing was ended")
    model.error = "no server answers\x1b[2J"
    assert texts(model)[-1].startswith(r"no server answers\x1b[2J")


def test_other_kinds_are_shown_as_show_does() -> None:
    model = seen("a", page=18)
    press(model, "w")
    assert texts(model)[4].strip() == "no workers"
    model.take(look(model, status()["workers"]))
    shown = texts(model)
    assert shown[4].split()[:3] == ["WORKER", "PID", "GEN"]
    assert shown[5].split()[:3] == ["1", "7", "2"]
    assert shown[-1].startswith("1 workers")


def test_what_came_from_elsewhere_moves_no_cursor() -> None:
    model = seen(page=18)
    model.take(look(model, [row("a", user="\x1b[2J", to="\u202eevil\n", client="\x07")]))
    press(model, "k")
    assert all(text.isprintable() for text in texts(model, 60, 200))


def test_a_screen_that_is_too_small_says_so() -> None:
    assert texts(seen("a"), 5, 80)[0].startswith("at least 40x8")
    assert texts(seen("a"), 24, 10)[0] == "at least …"


def test_nobody_has_answered_yet() -> None:
    assert "asking" in "".join(texts(Model("rate", {})))
