"""The soak's judgement: what it must object to, and what it must excuse."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from tests.endurance import faults, timeline, verdict
from tests.endurance.faults import AFTERMATH, FAULTS, Happened
from tests.endurance.sampler import Holdings, Sample
from tests.endurance.timeline import Curve, Mark, Panel
from tests.endurance.verdict import Tally

KILLED = Happened("worker killed", 100.0, 100.1, "worker 1")
BEFORE = [Holdings("supervisor", 20, 10, 1), Holdings("worker", 30, 12, 3)]


def told(how: str, began: float = 90.0, ended: float = 110.0) -> dict[str, Any]:
    return {"kind": "small", "how": how, "text": "", "began": began, "ended": ended, "up": 5, "down": 7}


def tally(*all_told: dict[str, Any]) -> Tally:
    made = Tally()
    for each in all_told:
        made.take(each)
    return made


@pytest.mark.parametrize("how", ["wrong", "unreachable", "slow", "refused"])
def test_a_killed_worker_excuses_nothing_but_what_was_cut(how: str) -> None:
    assert verdict.unexcused(tally(told(how)), [KILLED])


def test_a_cut_is_excused_by_a_kill_in_its_time_alone() -> None:
    assert not verdict.unexcused(tally(told("cut")), [KILLED])
    assert verdict.unexcused(tally(told("cut", 101 + AFTERMATH, 120)), [KILLED])
    assert verdict.unexcused(tally(told("cut", 80, 99)), [KILLED])
    assert verdict.unexcused(tally(told("cut")), [Happened("reload", 100.0, 100.1, "")])


@pytest.mark.parametrize("kind", FAULTS)
def test_nothing_excuses_wrong_bytes_or_a_server_that_is_not_there(kind: str) -> None:
    happened = Happened(kind, 100.0, 100.1, "")
    assert not happened.excuses("wrong", 90, 110)
    assert not happened.excuses("unreachable", 90, 110)


def test_many_failures_are_told_in_few_lines() -> None:
    lines = verdict.unexcused(tally(*[told("wrong")] * 50), [])
    assert len(lines) == verdict.TOLD + 1
    assert "40 more" in lines[-1]


def test_more_cuts_than_the_server_lost() -> None:
    assert verdict.cut_beyond(tally(told("cut"), told("cut")), 1)
    assert not verdict.cut_beyond(tally(told("cut"), told("ok")), 1)
    assert not verdict.cut_beyond(tally(told("cut"), told("cut")), 0, 1)


@pytest.mark.parametrize(("last", "objects"), [(100, False), (104, False), (106, True), (300, True)])
def test_memory_that_grows(last: int, objects: bool) -> None:
    half = verdict.LONG_ENOUGH // 2
    memory = [100] * half + [last] * half
    memory[::3] = [1000] * len(memory[::3])  # hashes are computed
    samples = [Sample(float(at), 0, each, 0, 0, 0, 0) for at, each in enumerate(memory)]
    assert bool(verdict.grown(samples, 40)) is objects
    assert not verdict.grown(samples[half - 5 : half + 5], 4)  # too short a time to judge


@pytest.mark.parametrize(
    ("after", "objects"),
    [
        (BEFORE, False),
        (
            [BEFORE[0], Holdings("worker", 30 + verdict.SPARE_DESCRIPTORS, 12, 3 + verdict.SPARE_THREADS)],
            False,
        ),
        ([BEFORE[0], Holdings("worker", 31 + verdict.SPARE_DESCRIPTORS, 12, 3)], True),
        ([BEFORE[0], Holdings("worker", 30, 13, 3)], True),
        ([BEFORE[0], Holdings("worker", 30, 12, 4 + verdict.SPARE_THREADS)], True),
        ([Holdings("supervisor", 21, 10, 1), BEFORE[1]], True),
        ([BEFORE[0]], True),
        ([*BEFORE, BEFORE[1]], True),
    ],
)
def test_what_is_not_given_back(after: list[Holdings], objects: bool) -> None:
    assert bool(verdict.not_given_back(BEFORE, after)) is objects


@pytest.mark.parametrize(
    ("accepted", "idle", "opened", "down", "objects"),
    [
        (2, 2, 0, 14, False), (3, 3, 0, 20, False), (2, 1, 1, 14, False),
        (2, 1, 0, 14, True), (1, 1, 0, 14, True), (2, 2, 0, 13, True),
    ],
)  # fmt: skip
def test_the_servers_own_count(accepted: int, idle: int, opened: int, down: int, objects: bool) -> None:
    totals = {
        "totals": {"accepted": accepted, "ends": {"idle": idle}, "down": down},
        "sessions": {"open": opened},
    }
    assert bool(verdict.books(totals, tally(told("ok"), told("ok")))) is objects
    assert verdict.books(None, Tally())


def test_the_same_seed_plans_the_same_faults() -> None:
    planned = faults.plan(7, 60, 3600, 5.0)
    assert planned == faults.plan(7, 60, 3600, 5.0) != faults.plan(8, 60, 3600, 5.0)
    assert all(60 < each.at < 3600 for each in planned)
    assert {each.kind for each in planned} == set(FAULTS)
    assert 500 < len(planned) < 900
    assert max(each.at for each in planned if each.kind == "upgrade") < 60 + 3540 * faults.UPGRADES


def test_the_timeline_is_well_formed_and_has_no_outside_resources() -> None:
    points = [(float(at), at % 7) for at in range(3000)]
    panels = [
        Panel("A & B", "MB/s", [Curve("<one>", points), Curve("two", points[:5])]),
        Panel("none", "", []),
    ]
    marks = [Mark(10.0, 0.1, "worker killed"), Mark(700.0, 90.0, 'a "b" <c>')]
    text = timeline.draw("a soak", "of <this> & that", panels, marks, 3000)
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "script" not in text
    assert text.count('class="fault"') == len(marks)
    assert len(text) < 100_000


@pytest.mark.parametrize(
    ("value", "scale"), [(0, 1), (0.7, 0.8), (1, 1), (3, 4), (9, 10), (101, 200), (2300, 2500)]
)
def test_scales_end_with_round_numbers(value: float, scale: float) -> None:
    assert timeline.nice(value) == pytest.approx(scale)
