from __future__ import annotations

from forksocks.process.outcomes import MOST_TEXT, Outcome


def test_only_one_that_has_begun_can_end() -> None:
    outcome = Outcome()
    outcome.fail("nobody asked")
    outcome.succeed("everything")
    assert (outcome.begun, outcome.ended, outcome.error, outcome.changed) == (0, 0, "", "")


def test_what_came_of_the_last_one_stays_until_the_next_has_ended() -> None:
    outcome = Outcome()
    outcome.begin()
    outcome.fail("x" * 5000)
    assert len(outcome.error) == MOST_TEXT
    outcome.begin()
    assert (outcome.begun, outcome.ended, outcome.error[:1]) == (2, 1, "x")
    outcome.succeed("log.level")
    assert outcome.named() == {"begun": 2, "ended": 2, "error": "", "changed": "log.level"}


def test_a_refusal_does_not_end_the_one_under_way() -> None:
    outcome = Outcome()
    outcome.begin()
    outcome.refuse("one is under way")
    assert (outcome.begun, outcome.ended) == (1, 0)
    outcome.succeed()
    outcome.refuse("not now")
    assert (outcome.begun, outcome.ended, outcome.error) == (2, 2, "not now")
