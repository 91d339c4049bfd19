"""Tests of other modules once more, against forksocks as it is elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.system import elsewhere, server


@pytest.fixture(scope="module", autouse=True)
def _elsewhere() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "PROGRAM", elsewhere.NAME)
        yield


def again(*modules: ModuleType) -> dict[str, Any]:
    """What a module defines to run them again: tests by names of their own, fixtures, and where."""
    found: dict[str, Any] = {"_elsewhere": _elsewhere}
    for module in modules:
        for name, thing in vars(module).items():
            if name.startswith("test_") and callable(thing):
                found[f"{module.__name__.rpartition('.')[2]}__{name}"] = thing
            elif type(thing) is type(_elsewhere):
                assert name not in found, f"two fixtures {name}"
                found[name] = thing
    return found
