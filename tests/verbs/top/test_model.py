from __future__ import annotations

import pytest

from forksocks.verbs.top.feed import Look
from forksocks.verbs.top.model import HISTORY, LEAST, ORDERS, Model
from tests.verbs.top.looks import look, press, row, seen, status


def test_keys_change_what_is_asked_for() -> None:
    model = seen("a", "b")
    assert model.wanted().filters == {"sort": "rate", "skip": "0", "first": "5"}
    press(model, "s")
    assert model.wanted().filters["sort"] == "up_rate"
    press(model, "r")
    assert model.wanted().filters["sort"] == "-up_rate"
    press(model, "S", "S")
    assert model.wanted().filters["sort"] == ORDERS[-1]
    press(model, "w")
    assert (model.wanted().kind, model.wanted().filters["first"]) == ("workers", "0")
    press(model, "f")
    assert model.frozen
    press(model, "f", "q")
    assert (model.frozen, model.quit) == (False, True)


def test_a_filter_is_typed() -> None:
    model = seen("a", "b")
    press(model, "KEY_DOWN", "/", *"bobx", "KEY_BACKSPACE", " ", *"to=*.org", "\n")
    filters = model.wanted().filters
    assert (filters["text"], filters["to"], model.selected) == ("bob", "*.org", 0)
    press(model, "/")
    assert model.typed == "bob to=*.org"
    press(model, "\x15", *"user=é", "KEY_F(1)", "\x01", "KEY_ENTER")
    assert model.filters == {"user": "é"}
    press(model, "/", "q", "\x1b")
    assert (model.filters, model.quit) == ({"user": "é"}, False)
    press(model, "\x1b")
    assert model.filters == {}


def test_two_words_are_no_filter_and_the_one_before_stays() -> None:
    model = seen("a")
    press(model, "/", *"alice", "\n", "/", "\x15", *"alice bob", "\n")
    assert "there twice" in model.message
    assert model.filters == {"text": "alice"}
    press(model, "/", *("x" * 500))
    assert len(model.typed or "") == 200


def test_a_filter_is_typed_for_tunnels_wherever_one_is() -> None:
    model = seen("a")
    press(model, "u", "/", *"bob", "\n")
    assert (model.kind, model.filters) == ("tunnels", {"text": "bob"})
    press(model, "c", "\x1b")
    assert (model.kind, model.filters) == ("tunnels", {"text": "bob"}), "Escape goes back first"


def test_a_tunnel_is_ended_only_when_that_is_confirmed() -> None:
    model = seen("a", "b")
    press(model, "KEY_DOWN", "k")
    assert (model.asking, model.whose, model.ended) == ("b", " of alice to example.com:443", "")
    press(model, "n")
    assert (model.asking, model.ended, model.message) == ("", "", "nothing was ended")
    press(model, "k", "y")
    assert model.ended == "b"


def test_whom_the_user_was_asked_about_is_meant_whatever_moves_meanwhile() -> None:
    model = seen("a", "b")
    press(model, "k")
    model.take(look(model, [row("c"), row("b")]))
    press(model, "y")
    assert model.ended == "a"


@pytest.mark.parametrize("kind", ["w", "u", "t"])
def test_where_there_is_no_tunnel_none_is_ended(kind: str) -> None:
    model = Model("rate", {})
    press(model, kind, "k", "y")
    assert (model.asking, model.ended) == ("", "")


def test_who_is_selected_stays_so_once_the_user_has_moved() -> None:
    model = seen("a", "b", "c")
    model.take(look(model, [row("c"), row("a"), row("b")]))
    assert model.chosen()["id"] == "c", "nobody chose a"
    press(model, "KEY_DOWN")
    model.take(look(model, [row("a"), row("b"), row("c")]))
    assert model.chosen()["id"] == "a"
    model.take(look(model, [row("b"), row("c")]))
    assert model.chosen()["id"] == "b"
    model.take(look(model, []))
    assert model.chosen() == {}


def test_pages() -> None:
    model = Model("rate", {})
    model.resize(3)
    model.take(look(model, [row(name) for name in "abc"], fit=10))

    def at(*keys: str) -> tuple[int, int]:
        press(model, *keys)
        return model.above, model.selected

    assert at("KEY_UP") == (0, 0)
    assert at("KEY_DOWN", "KEY_DOWN") == (0, 2)
    assert at("KEY_DOWN") == (1, 2)
    assert model.wanted().filters["skip"] == "1"
    assert at("KEY_NPAGE") == (4, 2)
    assert at("KEY_END") == (7, 2)
    assert at("KEY_DOWN") == (7, 2)
    assert at("KEY_PPAGE", "KEY_PPAGE") == (3, 0)
    assert at("KEY_HOME") == (0, 0)
    press(model, "G", "g")
    assert (model.above, model.selected) == (0, 0)


def test_when_there_are_fewer_than_were_skipped_the_last_ones_are_shown() -> None:
    model = Model("rate", {})
    model.resize(3)
    model.take(look(model, [row(name) for name in "abc"], fit=10))
    press(model, "KEY_END")
    model.take(Look(1.0, model.wanted(), status(), 2, []))
    assert (model.above, model.selected) == (0, 1)


def test_a_smaller_screen_keeps_the_selected_row_in_sight() -> None:
    model = seen(*"abcde")
    press(model, "KEY_END")
    model.resize(2)
    assert (model.above, model.selected) == (3, 1)


def test_rows_of_another_kind_are_a_list_of_their_own() -> None:
    model = seen("a", "b")
    press(model, "KEY_DOWN", "l")
    assert (model.rows(), model.count(), model.chosen()) == ((), 0, {}), "the tunnels are none"
    model.take(look(model, status()["listeners"]))
    assert (model.count(), model.chosen()["listener"]) == (1, "lan")


def test_rates_are_made_of_totals() -> None:
    model = seen("a")
    for second, up in ((1, 3048), (2, 3048), (4, 5048)):
        totals = {"accepted": 30 + second, "up": up, "down": 4096, "ends": {}}
        model.take(look(model, [], at=float(second), totals=totals))
        model.take(look(model, [], at=second + LEAST / 2, totals=totals))  # too soon to say anything
    assert list(model.rates["up"]) == [1000, 0, 1000]
    assert list(model.rates["accepted"]) == [1, 1, 1]
    for second in range(5, 2 * HISTORY):
        model.take(look(model, [], at=float(second), totals=totals))
    assert len(model.rates["up"]) == HISTORY
