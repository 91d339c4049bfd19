"""A minute of the soak: real load, faults at random, every byte compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.programs import run
from tests.system.server import ROOT


@pytest.mark.timeout(900)
def test_a_minute_of_load_and_faults(tmp_path: Path) -> None:
    done = run(
        str(ROOT / "tests" / "soak"), "1", "--slow", "2", "--out", str(tmp_path),
        cwd=ROOT, limit=800, status=None,
    )  # fmt: skip
    print(done.out.decode())
    assert done.status == 0, done.out.decode()[-3000:] + done.err.decode()[-3000:]
    assert "nothing was wrong" in (tmp_path / "summary.txt").read_text()
    assert (tmp_path / "timeline.svg").read_text().startswith("<svg ")
