from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from forksocks.host import linux, machine
from forksocks.host.sandbox import seccomp


def test_what_this_python_has_is_offered() -> None:
    offered = {feature.name: feature.offered for feature in machine.fast_paths()}
    assert offered["splice"] == hasattr(os, "splice")
    assert offered["TCP_DEFER_ACCEPT"] == hasattr(socket, "TCP_DEFER_ACCEPT")


def test_a_machine_without_any_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "HAS_SPLICE", False)
    monkeypatch.setattr(linux, "FAST", dict.fromkeys(linux.FAST))
    monkeypatch.setattr(linux, "IS_LINUX", False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    shown = [str(feature) for feature in (*machine.fast_paths(), *machine.sandbox_layers())]
    assert shown == [
        "no splice (copying instead)",
        *("no TCP_DEFER_ACCEPT", "no TCP_NOTSENT_LOWAT", "no IP_BIND_ADDRESS_NO_PORT"),
        *("no Landlock", "no seccomp", "no no_new_privs", "no chroot (needs root)"),
    ]


@pytest.mark.parametrize(
    ("content", "shown"), [("1048576\n", "splice (pipes up to 1024 KiB)"), ("?", "splice")]
)
def test_the_largest_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, shown: str) -> None:
    (tmp_path / "pipe-max-size").write_text(content)
    monkeypatch.setattr(machine, "PIPE_MAX_SIZE", tmp_path / "pipe-max-size")
    monkeypatch.setattr(linux, "HAS_SPLICE", True)
    assert str(machine.fast_paths()[0]) == shown


def test_landlock_is_asked_of_the_kernel() -> None:
    abi = machine.landlock_abi()
    known = Path("/sys/kernel/security/lsm")
    if known.exists():
        assert ("landlock" in known.read_text()) == (abi > 0)
    assert abi >= 0


def test_a_kernel_that_filters_calls_needs_a_library_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {str(feature) for feature in machine.sandbox_layers()} & {
        "seccomp (seccomp)",
        "seccomp (pyseccomp)",
    }
    monkeypatch.setattr(seccomp, "MODULES", ())
    shown = [str(feature) for feature in machine.sandbox_layers()]
    assert "no seccomp (pip install '.[sandbox]', or pyseccomp)" in shown
