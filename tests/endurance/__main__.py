"""The soak's command line: runs it, writes the summary and the timeline, and fails if anything was wrong."""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from tests.endurance import abuse, faults, sampler, timeline, verdict
from tests.endurance.faults import Happened
from tests.endurance.loads import KINDS
from tests.endurance.sampler import Sampler
from tests.endurance.target import Target
from tests.endurance.timeline import Curve, Mark, Panel
from tests.endurance.verdict import Tally
from tests.system.processes import eventually
from tests.system.server import ROOT, environment

EVERY = 5.0  # seconds between two faults, on average
QUIET = 180.0  # seconds without faults at both ends, at most
MIB = 1024 * 1024


class Load:
    """One kind's process, and a thread that takes what it tells."""

    def __init__(
        self, kind: str, target: Target, web: int, seed: int, slow: float, tally: Tally, lock: threading.Lock
    ) -> None:
        host, port = target.endpoint
        numbers = map(str, (port, target.origin, web, seed, slow))
        words = [sys.executable, "-m", "tests.endurance.loads", kind, host, *numbers]
        self.process = subprocess.Popen(
            words, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout, tally, lock))
        self._reader.start()

    def _read(self, lines: IO[str], tally: Tally, lock: threading.Lock) -> None:
        for line in lines:
            told = json.loads(line)
            with lock:
                tally.take(told)
                if told["how"] not in ("ok", "cut") and len(tally.failures) < verdict.SHOWN:
                    print(f"     {told['kind']}: {told['how']} {told['text']}", flush=True)

    def end(self) -> None:
        """Ask it to end; `wait` for it after."""
        assert self.process.stdin
        self.process.stdin.close()

    def wait(self) -> int:
        """Its exit status."""
        self._reader.join()
        return self.process.wait()


class Soak:
    """One run."""

    def __init__(self, minutes: float, seed: int, slow: float, out: Path) -> None:
        self.seconds = minutes * 60
        self.quiet = min(self.seconds / 10, QUIET)
        self.seed = seed
        self.slow = slow
        self.out = out
        self.tally = Tally()
        self.happened: list[Happened] = []
        self.wrong: list[str] = []
        self.began = 0.0
        self._lock = threading.Lock()

    def run(self) -> None:
        """Start everything, wait, judge."""
        with subprocess.Popen(
            [sys.executable, "-m", "tests.endurance.origin"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as origin:  # fmt: skip
            assert origin.stdin
            assert origin.stdout
            port, web = map(int, origin.stdout.readline().split())
            with (
                tempfile.TemporaryDirectory(prefix="forksocks-soak-") as folder,
                Target(Path(folder), port) as target,
            ):
                self._soak(target, web)
            origin.stdin.close()

    def _soak(self, target: Target, web: int) -> None:
        self._warm_up(target, web)
        before = sampler.holdings(target)
        looking = Sampler(target)
        self.began = time.monotonic()
        loads = [Load(kind, target, web, self.seed, self.slow, self.tally, self._lock) for kind in KINDS]
        looking.start()
        try:
            self._inject(target)
        finally:
            for load in loads:
                load.end()
            statuses = [load.wait() for load in loads]
            looking.stop()
        if any(statuses):
            self.wrong.append("a load ended with an error")
        self.samples = looking.samples
        self._judge(target, before)

    def _warm_up(self, target: Target, web: int) -> None:
        """Everything once, so that what is made on first use is there before anyone compares."""
        tally, lock = Tally(), threading.Lock()
        loads = [Load(kind, target, web, 0, 1.0, tally, lock) for kind in KINDS if kind != "idle"]
        time.sleep(3)
        for load in loads:
            load.end()
        for load in loads:
            load.wait()
        self.wrong += [f"before any fault: {each}" for each in verdict.unexcused(tally, [])]
        _settle(target)

    def _inject(self, target: Target) -> None:
        """Do the planned faults, each in its time; the first and the last tenth, or QUIET, are left alone."""
        quiet = self.quiet
        for planned in faults.plan(self.seed, quiet, self.seconds - quiet, EVERY):
            time.sleep(max(0.0, self.began + planned.at - time.monotonic()))
            happened = faults.do(planned, target)
            self.happened.append(happened)
            at = timeline.clock(happened.began - self.began)
            print(f"{at} {happened.kind}: {happened.what}", flush=True)
            if time.monotonic() > self.began + self.seconds - quiet:
                break
        time.sleep(min(faults.AFTERMATH, quiet / 3))  # whoever was killed last has a successor
        target.even()  # what is compared at the end was measured with as many workers as at the start
        time.sleep(max(0.0, self.began + self.seconds - time.monotonic()))

    def _judge(self, target: Target, before: list[sampler.Holdings]) -> None:
        wrong = self.wrong
        target.even()
        _settle(target)
        wrong += verdict.unexcused(self.tally, self.happened)
        wrong += verdict.grown(self.samples, self.quiet)
        if not eventually(lambda: not verdict.not_given_back(before, sampler.holdings(target))):
            wrong += verdict.not_given_back(before, sampler.holdings(target))
        # The workers of the program before let go of the listeners a little later.
        upgrades = [each.ended + faults.AFTERMATH for each in self.happened if each.kind == "upgrade"]
        since = max(upgrades, default=0.0)
        # What programs before this one have counted arrives within a second.
        eventually(lambda: not verdict.books(sampler.totals(target), self.tally, since))
        totals = sampler.totals(target)
        wrong += verdict.books(totals, self.tally, since)
        ends = target.stop()
        wrong += [f"a program of the server ended with {how}" for how in ends if how != "exit status 0"]
        crashes = [*target.events("crash"), *target.events("crash-at")]
        wrong += [f"the server crashed: {each}" for each in sorted(crashes, key=itemgetter("time"))]
        deaths = target.events("child-died")
        self.lost = sum(int(each.get("sessions", 0)) for each in deaths)
        wrong += verdict.cut_beyond(self.tally, self.lost, len(deaths))
        self.totals = totals


def _settle(target: Target) -> dict[str, Any] | None:
    """Wait until no session is left; return what the server has counted."""

    def settled() -> bool:
        totals: Any = sampler.totals(target)
        return bool(totals and not totals["sessions"]["open"])

    eventually(settled)
    return sampler.totals(target)


def summary(soak: Soak) -> str:
    """The text for people."""
    tally = soak.tally
    sessions = sum(tally.ended.values())
    kinds: dict[str, int] = {}
    for each in soak.happened:
        kinds[each.kind] = kinds.get(each.kind, 0) + 1
    memory = [sample.memory / MIB for sample in soak.samples]
    first, last = soak.samples[0], soak.samples[-1]
    by_kind = {kind: sum(n for (each, _), n in tally.ended.items() if each == kind) for kind in KINDS}
    lines = [
        f"forksocks soak: {soak.seconds / 60:g} minutes, seed {soak.seed}",
        f"sessions    {sessions}: {tally.of('ok')} ok, {tally.of('cut')} cut by faults (the server lost "
        f"{soak.lost}), {tally.of('refused')} refused, {tally.of('slow')} slow, "
        f"{tally.of('unreachable')} unreachable, {tally.of('wrong')} with wrong bytes",
        f"of a kind   {_counts(by_kind)}",
        f"bytes       {tally.up / 1e9:.2f} GB up, {tally.down / 1e9:.2f} GB down, every one compared",
        f"faults      {len(soak.happened)}: {_counts(kinds)}",
        f"memory      {memory[0]:.1f} MiB at first, {memory[-1]:.1f} at last, {max(memory):.1f} at most, "
        f"growth {verdict.growth(soak.samples, soak.quiet):+.1%}",
        f"descriptors {first.descriptors} at first, {last.descriptors} at last; "
        f"threads {first.threads} at first, {last.threads} at last",
    ]
    lines += [f"WRONG       {each}" for each in soak.wrong] or ["verdict     nothing was wrong"]
    return "\n".join(lines) + "\n"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))


def picture(soak: Soak) -> str:
    """The timeline."""
    began, tally = soak.began, soak.tally
    whole = range(int(soak.seconds))
    per_second = [(at, tally.seconds[int(began) + at]) for at in whole]
    moved = (tally.up_a_second, tally.down_a_second)
    up, down = ([(at, each[int(began) + at] / 1e6) for at in whole] for each in moved)
    held = [(sample.at - began, sample) for sample in soak.samples]
    panels = [
        Panel(
            "Connections", "",
            [
                Curve("open", [(at, sample.connections) for at, sample in held]),
                Curve("ended in a second", per_second),
            ],
        ),
        Panel("Throughput", "MB/s", [Curve("to clients", down), Curve("from clients", up)]),
        Panel(
            "Memory", "MiB PSS",
            [
                Curve("all processes", [(at, sample.memory / MIB) for at, sample in held]),
                Curve("supervisor", [(at, sample.supervisor / MIB) for at, sample in held]),
            ],
        ),
        Panel(
            "Descriptors and threads", "",
            [
                Curve("descriptors", [(at, sample.descriptors) for at, sample in held]),
                Curve("threads", [(at, sample.threads) for at, sample in held]),
            ],
        ),
    ]  # fmt: skip
    marks = [Mark(each.began - began, each.ended - each.began, each.kind) for each in soak.happened]
    sessions = sum(tally.ended.values())
    subtitle = (
        f"{sessions:,} sessions, {(tally.up + tally.down) / 1e9:.1f} GB, {len(marks)} faults, "
        f"{tally.of('wrong')} wrong bytes, {tally.of('unreachable')} unreachable; seed {soak.seed}"
    )
    title = f"forksocks soak, {soak.seconds / 60:g} minutes"
    return timeline.draw(title, subtitle, panels, marks, soak.seconds)


def _judged(wrong: list[str]) -> int:
    print("\n".join([f"WRONG       {each}" for each in wrong] or ["verdict     nothing was wrong"]))
    return 1 if wrong else 0


def main() -> int:
    """Run; 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(prog="tests/soak", description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument(
        "--slow", type=float, default=1.0, metavar="N",
        help="the loads rest N times as long, to leave a machine that is shared to others (1)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("soak"), help="folder for what is written (soak)")
    parser.add_argument(
        "--abuse", action="store_true",
        help="in place of load and faults: clients and targets that stall, say half, close half or reset",
    )  # fmt: skip
    found = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if found.abuse:
        return _judged(abuse.run(found.minutes))
    print(f"seed {found.seed}, {found.minutes:g} minutes", flush=True)
    soak = Soak(found.minutes, found.seed, found.slow, found.out)
    soak.run()
    found.out.mkdir(parents=True, exist_ok=True)
    text = summary(soak)
    (found.out / "summary.txt").write_text(text)
    (found.out / "timeline.svg").write_text(picture(soak))
    data = {
        "seed": soak.seed, "began": soak.began, "faults": [asdict(each) for each in soak.happened],
        "samples": [asdict(each) for each in soak.samples], "failures": soak.tally.failures,
        "totals": soak.totals, "wrong": soak.wrong,
    }  # fmt: skip
    (found.out / "data.json").write_text(json.dumps(data) + "\n")
    print(text, end="")
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
