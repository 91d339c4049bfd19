from __future__ import annotations

import pytest

from forksocks.host.sandbox.report import Layer, Report, summary

WORKER = Report(
    (Layer("limits", True), Layer("ids", True, "nobody"), Layer("chroot", False, "not permitted"))
)
AGENT = Report((Layer("limits", True), Layer("ids", True, "nobody"), Layer("seccomp", False, "none")))


def test_what_holds_and_what_is_missing() -> None:
    assert (WORKER.held, WORKER.missing) == ("limits, ids (nobody)", "chroot (not permitted)")
    assert (Report().held, Report().missing) == ("", "")


@pytest.mark.parametrize("report", [WORKER, AGENT, Report()])
def test_a_report_is_read_as_it_was_written(report: Report) -> None:
    assert Report.read(report.written()) == report


def test_of_several_processes_a_layer_holds_only_where_it_holds_in_all() -> None:
    whole = Report((Layer("limits", True), Layer("seccomp", True)))
    assert summary([AGENT, whole, WORKER]) == (
        "limits, ids (nobody)",
        "seccomp (none), chroot (not permitted)",
    )
