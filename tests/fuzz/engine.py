"""A fuzzer in pure Python, for every Python that forksocks runs on: inputs that reach new lines are kept.

What atheris does with libFuzzer, only slower: it takes an input of the corpus, changes it a little, runs the
target, and keeps the input if it has seen a line of forksocks after another one for the first time.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.targets import Target

PACKAGE = str(Path(__file__).parents[2] / "forksocks")
LONGEST = 2048  # bytes of an input
# Bytes that matter to one parser or another.
WORDS = (
    b"\x00", b"\x01", b"\x03", b"\x04", b"\x05", b"\x7f", b"\x80", b"\xff", b"\x05\x01\x00", b"\x05\x01\x02",
    b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50", b"\x05\x01\x00\x03\x01a\x00\x50",
    b"\x04\x01\x00\x50\x00\x00\x00\x01", b"\x01\x01a\x01a", b"\xf0", b"\xf1", b"0x", b"xn--", b".", b"-",
    b":", b"%", b"\n", b"[[listen]]\n", b" = ", b"$argon2id$v=19$m=65536,t=3,p=4$", b"OK", b"ERR", b"BH",
    b'message="', b"\\", b'"',
)  # fmt: skip

Edge = tuple[str, int, int]


@dataclass
class Report:
    """What a run did; `failing` is the input that the target would not take, and `error` why."""

    executions: int = 0
    edges: set[Edge] = field(default_factory=set)
    kept: int = 0
    failing: bytes | None = None
    error: BaseException | None = None


class Tracer:
    """Notes which line of the package followed which (sys.settrace)."""

    def __init__(self) -> None:
        self.edges: set[Edge] = set()
        self._last = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE):
            return None
        line = frame.f_lineno
        self.edges.add((name, self._last, line))
        self._last = line
        return self


def fuzz(
    target: Target, corpus: Iterable[bytes], seconds: float, seed: int, most: int = sys.maxsize
) -> Report:
    """Run a target for so long, or so often, beginning with the corpus; end with the first finding."""
    report = Report()
    chance = random.Random(seed)
    pool: list[bytes] = []
    waiting = list(corpus)[::-1] or [b""]
    end = time.monotonic() + seconds
    while report.executions < most and (waiting or time.monotonic() < end):
        data = waiting.pop() if waiting else changed(chance, pool or [b""])
        tracer = Tracer()
        before = sys.gettrace()
        try:
            sys.settrace(tracer)
            target(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            report.failing, report.error = data, error
            return report
        finally:
            sys.settrace(before)
        report.executions += 1
        if not tracer.edges <= report.edges:
            report.edges |= tracer.edges
            report.kept += 1
            pool.append(data)
    return report


def changed(chance: random.Random, pool: Sequence[bytes]) -> bytes:
    """An input with a few changes."""
    data = bytearray(chance.choice(pool))
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if data:
                data[at - 1] ^= 1 << chance.randrange(8)
            case 1 if data:
                data[at - 1] = chance.randrange(256)
            case 2:
                data[at:at] = chance.choice(WORDS)
            case 3:
                del data[at : at + chance.choice((1, 2, 8, 64))]
            case 4:
                other = chance.choice(pool)
                data[at:] = other[chance.randrange(len(other) + 1) :]
            case _:
                data[at:at] = bytes((chance.randrange(256),)) * chance.choice((1, 2, 16, 256))
    return bytes(data[:LONGEST])
