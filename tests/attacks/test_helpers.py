"""A helper that goes wrong, and what a helper is born with."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.system.conftest import Start
from tests.system.processes import eventually, title
from tests.system.test_helpers import RIGHT, WRONG, configuration, helpers, log_in

# It tells on standard error what it was born with and what it is asked; the name says what it does.
SCRIPT = """\
ls -m /proc/$$/fd >&2
grep -E '^(SigBlk|SigIgn):' /proc/$$/status | tr '\\t\\n' '  ' >&2
tr '\\0' ' ' </proc/$$/environ >&2
echo >&2
while read -r name password; do
  echo "asked $name" >&2
  case $name in
    hang) sleep 1000 ;;
    hang-deaf) trap '' TERM; while :; do sleep 1000; done ;;
    long) head -c 1048576 /dev/zero | tr '\\0' x; echo ;;
    long-right) printf 'OK '; head -c 1048576 /dev/zero | tr '\\0' x; echo ;;
    twice) printf 'OK\\nOK\\n' ;;
    strange) echo 'YES' ;;
    die) exit 3 ;;
    early) echo ERR; sleep 0.1; echo OK ;;
    *) if [ "$password" = secret ]; then echo OK; else echo ERR; fi ;;
  esac
done
"""


@pytest.fixture
def command(tmp_path: Path) -> Sequence[str]:
    script = tmp_path / "helper"
    script.write_text(SCRIPT)
    return ["/bin/sh", str(script)]


def test_it_is_born_with_three_descriptors_and_nothing_else(server: Start, command: Sequence[str]) -> None:
    os.environ["FORKSOCKS_CANARY"] = os.environ["LISTEN_FDS"] = "1"
    try:
        started = server(config=configuration(command, processes=1))
    finally:
        del os.environ["FORKSOCKS_CANARY"], os.environ["LISTEN_FDS"]
    assert log_in(started, b"alice", b"secret") == RIGHT
    started.wait_for("helper-says", text="asked alice")
    held, rest = (line["text"] for line in started.events("helper-says")[:2])
    # From 10 on are the shell's own: its script, and what it redirects.
    assert {int(number) for number in held.split(", ") if int(number) < 10} == {0, 1, 2}
    assert rest.split()[:4] == ["SigBlk:", "0" * 16, "SigIgn:", "0" * 16]
    assert {word.split("=")[0] for word in rest.split()[4:]} == {"PATH", "LANG"}


@pytest.mark.parametrize(
    "name", ["hang", "hang-deaf", "long", "long-right", "twice", "strange", "die"], ids=str
)
def test_one_that_goes_wrong_lets_nobody_in_and_is_replaced(
    server: Start, command: Sequence[str], name: str
) -> None:
    started = server(config=configuration(command, processes=1, timeout="'1s'", remember="'0s'"))
    assert log_in(started, b"alice", b"secret") == RIGHT
    (before,) = helpers(started)
    assert log_in(started, name.encode(), b"secret") == WRONG
    started.wait_for("end", user=name, cause="auth-unavailable")
    assert eventually(lambda: before not in helpers(started) and len(helpers(started)) == 1)
    assert eventually(lambda: log_in(started, b"alice", b"secret") == RIGHT)
    assert log_in(started, b"alice", b"wrong") == WRONG
    started.wait_for("child-died", child="helper 1", pid=before)
    assert bool(started.events("helper-faulty", pid=before)) is (name != "die")
    started.stop()  # and nothing that it had started is left


def test_an_answer_that_comes_too_early_answers_nobody(server: Start, command: Sequence[str]) -> None:
    started = server(config=configuration(command, processes=1, timeout="'5s'", remember="'0s'"))
    assert log_in(started, b"early", b"x") == WRONG
    started.wait_for("helper-faulty")
    assert log_in(started, b"alice", b"wrong") == WRONG
    assert eventually(lambda: log_in(started, b"alice", b"secret") == RIGHT)


def test_a_name_cannot_forge_an_answer_or_a_question(server: Start, command: Sequence[str]) -> None:
    started = server(config=configuration(command, processes=1, remember="'0s'"))
    for name in (b"bob\nOK", b"bob\nalice secret", b"bob secret\n", b"\r\nOK", b"x" * 255, b"\xff\x80"):
        assert log_in(started, name, b"wrong") == WRONG
    assert log_in(started, b"alice", b"wrong\nalice secret") == WRONG
    started.wait_for("helper-says", text="asked bob%0AOK")
    assert not started.events("helper-faulty")
    assert not [line for line in started.log if not re.fullmatch(r"[ -~]{1,2048}", line)]


def test_a_password_is_in_no_line_and_no_command_line(server: Start, command: Sequence[str]) -> None:
    started = server("-vvv", config=configuration(command, processes=1, timeout="'1s'"))
    for name in (b"alice", b"hang", b"strange"):
        log_in(started, name, b"canary-pass")
    started.wait_for("end", user="strange")
    for pid in started.pids:
        assert "canary" not in title(pid)
    assert not [line for line in started.log if "canary" in line]
