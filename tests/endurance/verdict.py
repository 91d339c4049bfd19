"""What a soak has shown: figures, and everything that was wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

from tests.endurance.faults import Happened, excused
from tests.endurance.sampler import Holdings, Sample

MOST_GROWTH = 0.05
# Growth is judged from so many samples on: below that it is the first use of everything.
LONG_ENOUGH = 300
# What a worker keeps for the next ones although nothing is under way: idle threads, and empty pipes of two
# descriptors each.
SPARE_THREADS, SPARE_DESCRIPTORS = 8, 32
TOLD = 10  # failures that are told one by one
SHOWN = 1000  # failures of any kind until which those that are no cut are shown when they happen


@dataclass
class Tally:
    """Sessions as they were told by the loads."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    up: int = 0
    down: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    seconds: Counter[int] = field(default_factory=Counter)
    up_a_second: Counter[int] = field(default_factory=Counter)
    down_a_second: Counter[int] = field(default_factory=Counter)
    begun: list[tuple[float, int]] = field(default_factory=list)  # when, and how many bytes it received

    def take(self, told: dict[str, Any]) -> None:
        """One session."""
        self.ended[told["kind"], told["how"]] += 1
        self.up += told["up"]
        self.down += told["down"]
        self.begun.append((told["began"], told["down"]))
        second = int(told["ended"])
        self.seconds[second] += 1
        self.spread(told)
        if told["how"] != "ok":
            self.failures.append(told)

    def spread(self, told: dict[str, Any]) -> None:
        """Its bytes over the seconds that it lasted."""
        first, last = int(told["began"]), int(told["ended"])
        for second in range(first, last + 1):
            self.up_a_second[second] += told["up"] // (last - first + 1)
            self.down_a_second[second] += told["down"] // (last - first + 1)

    def of(self, how: str) -> int:
        """How many sessions ended so."""
        return sum(number for (_, each), number in self.ended.items() if each == how)


def unexcused(tally: Tally, happened: Sequence[Happened]) -> list[str]:
    """The failures that no fault explains."""
    wrong = [
        told
        for told in tally.failures
        if not excused(told["how"], told["began"], told["ended"], list(happened))
    ]
    texts = [f"{told['kind']}: {told['how']} ({told['text']})" for told in wrong]
    more = [f"and {len(texts) - TOLD} more failures"] if len(texts) > TOLD else []
    return texts[:TOLD] + more


def cut_beyond(tally: Tally, lost: int, deaths: int = 0) -> list[str]:
    """More sessions were cut than the server says it has lost.

    A worker that is killed between accept(2) and the scoreboard takes one with it that nobody knows of, or
    two.
    """
    cut = tally.of("cut")
    return [f"{cut} sessions were cut, but the server lost {lost}"] if cut > lost + 2 * deaths else []


def growth(samples: Sequence[Sample], quiet: float) -> float:
    """How much memory has grown, from the second half of the quiet time at first to that at last, `quiet`
    seconds each.

    The lower quartiles are compared: for each hash that is computed there are 64 MiB more for a moment.
    """
    begin, end = samples[0].at, samples[-1].at
    before = [each.memory for each in samples if begin + quiet / 2 <= each.at <= begin + quiet]
    after = [each.memory for each in samples if end - quiet / 2 <= each.at]
    if min(len(before), len(after)) < 2:
        return 0.0
    return quantiles(after)[0] / quantiles(before)[0] - 1


def grown(samples: Sequence[Sample], quiet: float) -> list[str]:
    """Memory that is not flat."""
    if len(samples) < LONG_ENOUGH or (found := growth(samples, quiet)) < MOST_GROWTH:
        return []
    return [f"memory grew by {found:.1%}"]


def not_given_back(before: Sequence[Holdings], after: Sequence[Holdings]) -> list[str]:
    """What is held at the end and was not at the start."""
    wrong = []
    for role in sorted({each.role for each in before} | {each.role for each in after}):
        was, now = ([each for each in side if each.role == role] for side in (before, after))
        if len(was) != len(now):
            wrong.append(f"{role}: {len(was)} processes at the start, {len(now)} at the end")
            continue
        spare_threads = SPARE_THREADS if role in ("worker", "admin") else 0
        spare_descriptors = SPARE_DESCRIPTORS if role == "worker" else 0
        for name, spare in (("descriptors", spare_descriptors), ("sockets", 0), ("threads", spare_threads)):
            most = max(getattr(each, name) for each in was) + spare
            found = max(getattr(each, name) for each in now)
            if found > most:
                wrong.append(f"{role}: {found} {name} at the end, at most {most} expected")
    return wrong


def books(totals: dict[str, Any] | None, tally: Tally, since: float = 0.0) -> list[str]:
    """The server's own count, where it can be compared: of the program that has served since then."""
    if totals is None:
        return ["the server did not answer `status`"]
    counted = totals["totals"]
    ends = sum(counted["ends"].values())
    wrong = []
    if ends + totals["sessions"]["open"] != counted["accepted"]:
        wrong.append(
            f"{counted['accepted']} accepted, but {ends} ended and {totals['sessions']['open']} open"
        )
    served = [down for began, down in tally.begun if began > since]
    if counted["accepted"] < len(served):
        wrong.append(f"{counted['accepted']} accepted, but the loads made {len(served)} sessions")
    if counted["down"] < sum(served):
        wrong.append(f"{counted['down']} bytes down counted, but the loads received {sum(served)}")
    return wrong
