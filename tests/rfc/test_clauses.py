"""The table of clauses names tests that exist, and forgets none of the standards."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.rfc.clauses import CLAUSES, Clause, Level, table

TESTS = Path(__file__).parents[1]


@cache
def defined_in(file: str) -> frozenset[str]:
    """The tests that pytest finds in a file."""
    path = TESTS / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def missing(clause: Clause) -> list[str]:
    """The tests that a clause names and that do not exist."""
    found = [name.partition("::") for name in clause.tests]
    return [f"{file}::{test}" for file, _, test in found if test not in defined_in(file)]


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: f"{clause.source} {clause.asks[:30]}")
def test_every_clause_is_shown_by_tests_that_exist(clause: Clause) -> None:
    assert clause.tests
    assert missing(clause) == []
    for text in (clause.asks, clause.does):
        assert text.endswith(".")
        assert "|" not in text


@pytest.mark.parametrize(
    "name", ["wire/test_udp.py::test_nothing", "wire/test_none.py::test_header", "test_header"]
)
def test_a_test_that_does_not_exist_is_missed(name: str) -> None:
    assert missing(CLAUSES[0]._replace(tests=(name,)))


def test_all_standards_are_there() -> None:
    sources = {clause.source.rpartition(" ")[0] for clause in CLAUSES}
    assert sources == {"RFC 1928", "RFC 1929", "RFC 1961", "SOCKS"}
    for number, sections in ((1928, "34567"), (1961, "3456")):
        for section in sections:
            assert any(clause.source == f"RFC {number} {section}" for clause in CLAUSES)
    assert {clause.level for clause in CLAUSES} == set(Level)
    assert len({(clause.source, clause.asks) for clause in CLAUSES}) == len(CLAUSES)


def test_the_table_has_a_line_for_each() -> None:
    lines = table().splitlines()
    assert len(lines) == 2 + len(CLAUSES)
    assert all(line.count("|") == 5 for line in lines)
