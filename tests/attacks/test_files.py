"""Files that others could have put there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGING = Path(__file__).parents[2] / "packaging"
RUNS_IT = re.compile(r"^.*\bpython3?\b.*-m forksocks\b.*$", re.MULTILINE)
TRAP = 'open("sprung", "w").close()\n'


def test_services_import_nothing_from_where_they_are_started() -> None:
    """Python looks for modules where it is started, unless it is told not to (-P)."""
    lines = [
        (path.name, line)
        for path in PACKAGING.rglob("*")
        if path.is_file()
        for line in RUNS_IT.findall(path.read_text(errors="replace"))
    ]
    assert "forksocks.service" in [name for name, _ in lines]
    assert [each for each in lines if " -P " not in each[1]] == []


@pytest.mark.parametrize("module", ["tomllib", "setproctitle", "dataclasses"])
def test_so_started_a_module_that_lies_there_is_not_imported(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text(TRAP)
    run = [sys.executable, "-P", "-m", "forksocks", "--check"]
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)
    assert not (tmp_path / "sprung").exists()
