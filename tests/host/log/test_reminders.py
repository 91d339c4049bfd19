from __future__ import annotations

from forksocks.host.log.reminders import EVERY, KINDS, OTHERS, Reminders


def test_the_first_is_told_at_once_and_the_others_when_their_time_has_come() -> None:
    reminders = Reminders()
    assert [reminders.admits("no helper runs", 5.0) for _ in range(100)] == [True] + [False] * 99
    assert reminders.admits("a helper does not answer", 6.0)
    assert reminders.settle(5.0 + EVERY - 1) == []
    assert reminders.settle(5.0 + EVERY) == [("no helper runs", 99)]
    assert not reminders.admits("no helper runs", 6.0 + EVERY), "that was a line about it"
    assert reminders.settle(5.0 + 2 * EVERY) == [("no helper runs", 1)]


def test_what_has_passed_is_forgotten_and_told_at_once_when_it_comes_again() -> None:
    reminders = Reminders()
    assert reminders.admits("x", 0.0)
    assert reminders.settle(EVERY) == []
    assert reminders.admits("x", EVERY)


def test_kinds_without_number_share_one_line() -> None:
    reminders = Reminders()
    told = [reminders.admits(f"error {number}", 1.0) for number in range(10 * KINDS)]
    assert told == [True] * (KINDS + 1) + [False] * (9 * KINDS - 1)
    assert reminders.settle(1.0 + EVERY) == [(OTHERS, 9 * KINDS - 1)]
