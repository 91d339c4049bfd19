from __future__ import annotations

import pytest

from forksocks.process import pulse
from forksocks.process.pulse import Pulse


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pulse, "monotonic", made)
    return made


def felt(pulse: Pulse, clock: Clock, beats: list[int], step: float) -> list[float]:
    silences = []
    for beat in beats:
        clock.now += step
        silences.append(pulse.note(beat))
    return silences


def test_silence_grows_while_nothing_changes_and_ends_with_a_beat(clock: Clock) -> None:
    assert felt(Pulse(), clock, [5, 5, 5, 6, 6], 1.0) == [0, 1, 2, 0, 1]


def test_a_process_that_never_beats_is_silent_from_its_birth(clock: Clock) -> None:
    assert felt(Pulse(), clock, [0] * 4, 1.0)[-1] == 3


def test_a_heartbeat_may_be_any_number(clock: Clock) -> None:
    assert felt(Pulse(), clock, [2**64 - 1, 0, 7, 3], 1.0) == [0, 0, 0, 0]


@pytest.mark.parametrize("slept", [60.0, 86400.0])
def test_time_in_which_the_supervisor_itself_did_not_run_is_not_held_against_anybody(
    clock: Clock, slept: float
) -> None:
    made = Pulse()
    felt(made, clock, [5, 5], 1.0)
    clock.now += slept
    assert made.note(5) <= 1 + pulse.MOST_BETWEEN_LOOKS
    assert felt(made, clock, [5, 6], 1.0)[-1] == 0
