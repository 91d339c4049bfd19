"""The manual pages as mandoc(1) sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.programs import run

PAGES = sorted((Path(__file__).parents[2] / "packaging" / "man").glob("*.[1-9]"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_is_clean(path: Path) -> None:
    done = run("mandoc", "-T", "lint", "-W", "warning", str(path))
    assert done.out + done.err == b""
