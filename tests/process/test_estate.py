from __future__ import annotations

import os

from forksocks.host.scoreboard import layout
from forksocks.host.scoreboard.books import Totals
from forksocks.process.estate import ROOM, Estate, Legacy
from tests.machine import open_descriptors


def totals(accepted: int) -> Totals:
    counters = [0] * len(layout.COUNTERS)
    counters[layout.ACCEPTED] = accepted
    return Totals({"lan": counters}, [1] * len(layout.HEAD_COUNTERS), {"killed by SIGKILL": accepted})


def test_a_successor_reads_what_is_counted_and_goes_on_being_counted() -> None:
    now = totals(1)
    estate = Estate(lambda: now)
    estate.update()  # nobody reads it yet
    legacy = Legacy()
    assert legacy.totals() == Totals()
    legacy.take(estate.open())
    assert legacy.totals() == totals(1)
    now = totals(2)
    assert legacy.totals() == totals(1)
    estate.update()
    assert legacy.totals() == totals(2)


def test_what_is_no_estate_counts_nothing() -> None:
    before = open_descriptors()
    for text in (b"", b"x", b"[]", bytes(40)):
        descriptor = os.memfd_create("strange")
        os.write(descriptor, text)
        legacy = Legacy()
        legacy.take(descriptor)
        assert legacy.totals() == Totals()
        del legacy
    assert open_descriptors() == before


def test_an_older_or_newer_program_may_count_other_things() -> None:
    odd = Totals({"lan": [1] * len(layout.COUNTERS)}, [0] * len(layout.HEAD_COUNTERS))
    named = odd.named()
    named["listeners"]["lan"]["flying"] = 7
    del named["listeners"]["lan"]["accepted"]

    class Odd(Totals):
        def named(self) -> dict[str, object]:
            return named

    legacy = Legacy()
    legacy.take(Estate(Odd).open())
    found = legacy.totals().listeners["lan"]
    assert (found[layout.ACCEPTED], sum(found)) == (0, len(layout.COUNTERS) - 1)


def test_more_than_there_is_room_for_is_not_written() -> None:
    now = totals(1)
    estate, legacy = Estate(lambda: now), Legacy()
    legacy.take(estate.open())
    many = {f"listener {number}": [1] * len(layout.COUNTERS) for number in range(ROOM // 1000)}
    now = Totals(many, [0] * len(layout.HEAD_COUNTERS))
    estate.update()
    assert legacy.totals() == totals(1)


def test_the_last_word_is_known_as_such_and_gives_the_page_back() -> None:
    before = open_descriptors()
    now = totals(1)
    estate, legacy = Estate(lambda: now), Legacy()
    legacy.take(estate.open())
    assert legacy.totals() == totals(1)
    now = totals(2)
    estate.update(final=True)
    assert [legacy.totals(), legacy.is_final, legacy.totals()] == [totals(2), True, totals(2)]
    del estate
    assert open_descriptors() == before
