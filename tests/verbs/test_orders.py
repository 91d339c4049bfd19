"""What `reload` and `upgrade` make of a server's answers; tests/system/test_orders.py has real servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forksocks.verbs import asking, orders
from forksocks.verbs.verb import NoServer, Refused

NOBODY = 65534
ARGUMENTS = Namespace(socket=Path("admin.sock"), wait=True, sessions="keep", json=False)


def status(pid: int = 1000, begun: int = 0, ended: int = 0, error: str = "", **more: Any) -> dict[str, Any]:
    outcome = {"begun": begun, "ended": ended, "error": error, "changed": "nothing"}
    found = {"pid": pid, "state": "running", "generation": 7, "version": "1.0"}
    return found | {"outcomes": {"reload": outcome, "upgrade": outcome}} | more


class Answers:
    """A server that answers one thing after the other; an exception is raised. sent: the signals."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: dict[str, Any] | Exception) -> None:
        self._answers = list(answers)
        self.sent: list[tuple[int, int]] = []
        monkeypatch.setattr(asking, "ask", self._ask)
        monkeypatch.setattr(os, "kill", lambda pid, number: self.sent.append((pid, number)))
        monkeypatch.setattr(Path, "stat", lambda path: SimpleNamespace(st_uid=os.geteuid()))
        monkeypatch.setattr(orders, "LOOK", 0.0)

    def _ask(self, path: Path, verb: str) -> Iterator[dict[str, Any]]:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        yield answer


def test_a_reload_that_had_begun_before_is_not_the_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Answers(
        monkeypatch, status(begun=3, ended=2), status(begun=3, ended=3, error="the one before"),
        status(begun=4, ended=3, error="the one before"), status(begun=4, ended=4),
    )  # fmt: skip
    orders.run_reload(ARGUMENTS)
    assert capsys.readouterr().out == "reloaded: generation 7 serves, changed: nothing\n"
    assert asked.sent == [(1000, signal.SIGHUP)]


def test_while_one_follows_another_nobody_may_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = NoServer("gone")
    Answers(
        monkeypatch,
        status(),
        gone,
        gone,
        status(pid=2000, state="starting"),
        gone,
        status(2000, version="2.0"),
    )
    orders.run_upgrade(ARGUMENTS)
    said = capsys.readouterr().out
    assert said == (
        "upgraded: process 2000 serves, version 2.0 after 1.0; process 1000 lets its tunnels finish\n"
    )


def test_who_still_answers_for_the_configuration_before_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = Refused("a reload is under way: ask again when it is done")
    Answers(monkeypatch, status(), status(begun=1, ended=1), again, again, {"id": "1-7"})
    orders.run_reload(Namespace(socket=Path("admin.sock"), wait=False, sessions="recheck", json=True))
    assert json.loads(capsys.readouterr().out) == {"generation": 7, "changed": "nothing", "ended": 1}
    monkeypatch.setattr(orders, "OUT_OF_REACH", -1.0)
    Answers(monkeypatch, status(), status(begun=1, ended=1), again)
    with pytest.raises(Refused, match="ask again"):
        orders.run_reload(Namespace(socket=Path("admin.sock"), wait=False, sessions="recheck", json=True))


def test_a_program_that_takes_over_meanwhile_has_read_the_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Answers(monkeypatch, status(begun=5, ended=5), status(pid=2000))
    orders.run_reload(ARGUMENTS)
    assert "process 2000" in capsys.readouterr().out


def test_an_upgrade_that_failed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    Answers(monkeypatch, status(), status(begun=1, ended=1, error="it could not"))
    with pytest.raises(Refused, match="goes on as before: it could not"):
        orders.run_upgrade(ARGUMENTS)


def test_an_upgrade_that_was_under_way_already_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    Answers(monkeypatch, status(begun=1), status(begun=1, ended=1, error="it hung"))
    with pytest.raises(Refused, match="it hung"):
        orders.run_upgrade(ARGUMENTS)


def test_a_server_that_stays_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "OUT_OF_REACH", -1.0)
    Answers(monkeypatch, status(), NoServer("gone"))
    with pytest.raises(NoServer):
        orders.run_reload(ARGUMENTS)


def test_waiting_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "LONGEST", 0.01)
    Answers(monkeypatch, status(begun=1))
    with pytest.raises(Refused, match="nothing came of it"):
        orders.run_reload(ARGUMENTS)


def test_nobody_is_signalled_whom_a_stranger_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Answers(monkeypatch, status())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(Path, "stat", lambda path: SimpleNamespace(st_uid=1001))
    with pytest.raises(Refused, match="belongs to another user"):
        orders.run_reload(ARGUMENTS)
    assert not asked.sent


if os.geteuid() == 0:

    @pytest.mark.parametrize("whose", [NOBODY, 0])
    def test_root_signals_as_the_owner_of_the_socket(tmp_path: Path, whose: int) -> None:
        path = tmp_path / "socket"
        path.touch()
        os.chown(path, NOBODY, NOBODY)
        with subprocess.Popen(["sleep", "60"], user=whose, cwd="/") as process:
            try:
                if whose == 0:
                    with pytest.raises(Refused, match="not permitted"):
                        orders.send(path, process.pid, signal.SIGUSR1)
                    assert process.poll() is None
                else:
                    orders.send(path, process.pid, signal.SIGUSR1)
                    assert process.wait(30) == -signal.SIGUSR1
            finally:
                process.kill()


@pytest.mark.parametrize(("error", "told"), [(PermissionError(), Refused), (ProcessLookupError(), NoServer)])
def test_a_signal_that_does_not_arrive(
    monkeypatch: pytest.MonkeyPatch, error: OSError, told: type[Exception]
) -> None:
    def kill(pid: int, number: int) -> None:
        raise error

    Answers(monkeypatch, status())
    monkeypatch.setattr(os, "kill", kill)
    with pytest.raises(told):
        orders.run_upgrade(ARGUMENTS)


def test_another_version_that_says_nothing_of_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Answers(monkeypatch, {"pid": 1000, "state": "running"})
    with pytest.raises(Refused, match="kill"):
        orders.run_reload(ARGUMENTS)
    assert not asked.sent
