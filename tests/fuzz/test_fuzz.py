"""Every target takes its corpus and what is near it; and the engine finds what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import engine
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
EXECUTIONS = 60
PATIENCE = 3600.0  # seconds; the number of executions ends it


def inputs(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_takes_its_corpus_and_what_is_near_it(name: str) -> None:
    corpus = inputs(name)
    assert corpus
    report = engine.fuzz(TARGETS[name], corpus, PATIENCE, seed=1, most=len(corpus) + EXECUTIONS)
    if report.error is not None:
        raise AssertionError(f"{name}: {report.failing!r}") from report.error
    assert report.executions == len(corpus) + EXECUTIONS
    assert report.kept > 1


def test_the_engine_finds_an_error_that_is_some_lines_away() -> None:
    def target(data: bytes) -> None:
        TARGETS["names"](data)
        assert not data.startswith(b"xn--")

    report = engine.fuzz(target, [b"a.example"], PATIENCE, seed=1, most=100_000)
    assert isinstance(report.error, AssertionError)
    assert report.failing is not None
    assert report.failing.startswith(b"xn--")


def test_the_same_seed_does_the_same() -> None:
    reports = [engine.fuzz(TARGETS["datagrams"], [b""], PATIENCE, seed=7, most=300) for _ in range(2)]
    assert reports[0] == reports[1]
