"""The catalogue of attacks names tests that exist, and every test that attacks is in it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.attacks.catalogue import ATTACKS, Attack

TESTS = Path(__file__).parents[1]
GROUPS = "HNSUBPLXWAFE"


@cache
def defined_in(file: str) -> frozenset[str]:
    """The tests of a file, those in classes too."""
    path = TESTS / file
    tree = ast.parse(path.read_text() if path.is_file() else "")
    functions = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return frozenset(name for name in functions if name.startswith("test_"))


def missing(attack: Attack) -> list[str]:
    found = [name.partition("::") for name in attack.tests]
    return [f"{file}::{test}" for file, _, test in found if test not in defined_in(file)]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.key)
def test_every_attack_has_tests_that_exist(attack: Attack) -> None:
    assert attack.tests
    assert missing(attack) == []


@pytest.mark.parametrize("name", ["attacks/test_udp.py::test_nothing", "attacks/none.py::test_x", "test_x"])
def test_a_test_that_does_not_exist_is_missed(name: str) -> None:
    assert missing(ATTACKS[0]._replace(tests=(name,))) != []


def test_every_group_is_there_and_no_attack_twice() -> None:
    keys = [attack.key for attack in ATTACKS]
    assert list(dict.fromkeys(key[0] for key in keys)) == list(GROUPS)
    assert len(set(keys)) == len(keys)
    for group in GROUPS:
        numbers = [int(key[1:]) for key in keys if key[0] == group and key[1:]]
        assert numbers == list(range(1, len(numbers) + 1))
