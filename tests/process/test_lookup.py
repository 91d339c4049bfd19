from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from forksocks.access import passwords
from forksocks.access.hashes import Parameters, hashed
from forksocks.config.model import AuthConfig, Config, Level, LogConfig, ServerConfig
from forksocks.host.log import Log
from forksocks.host.scoreboard.board import Board
from forksocks.host.version import Version
from forksocks.process import lookup

CHEAP = Parameters(memory=8, passes=1, lanes=1)
ALICE = b"alice:" + hashed(b"secret", CHEAP) + b"\n"
BOB = b"bob:" + hashed(b"secret", CHEAP) + b"\n"
FROM_ALICE = passwords.question(b"alice", b"secret")
RIGHT = passwords.yes()
FROM_BOB = passwords.question(b"bob", b"secret")


class Interrupted(Version):
    """Something happens just before it is read, and just after; once each."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[], None] | None = None
        self.after: Callable[[], None] | None = None

    def read(self) -> int:
        happens, self.before = self.before, None
        if happens:
            happens()
        number = super().read()
        happens, self.after = self.after, None
        if happens:
            happens()
        return number


class Unsignalled:
    """In place of SignalQueue: the signals stay those of the tests."""

    def __init__(self, *_: object, **__: object) -> None: ...


class Lookup:
    """An agent that nobody has forked, asked without its channels."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line, self._ours = socket.socketpair()
        self._log = Log.open(LogConfig(level=Level.ERROR))
        self.version = Interrupted()
        around = lookup.Surroundings(self._line, (), (), self.version, None, Board.make())
        self._agent = lookup.Agent(Config(ServerConfig(), (), auth=AuthConfig(users=path)), around, self._log)

    def take(self, content: bytes) -> None:
        self._path.write_bytes(content)
        self._path.chmod(0o600)
        self._agent._read_users(os.open(self._path, os.O_RDONLY))  # noqa: SLF001 - as the supervisor's word does

    def says(self, question: bytes) -> bytes:
        return self._agent._answer_password(question)  # noqa: SLF001 - as a channel's thread does

    def close(self) -> None:
        self._line.close()
        self._ours.close()
        self._log.close(1)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lookup]:
    monkeypatch.setattr(lookup, "SignalQueue", Unsignalled)
    made = Lookup(tmp_path / "users")
    yield made
    made.close()


def test_without_users_nobody_is_right(agent: Lookup) -> None:
    assert agent.says(FROM_ALICE) == passwords.NO


def test_what_is_no_question_is_answered_no(agent: Lookup) -> None:
    agent.take(ALICE)
    for question in (b"", b"\xff", b"\x05alice", b"\xff" * 1000):
        assert agent.says(question) == passwords.NO


def test_a_removed_user_is_not_remembered(agent: Lookup) -> None:
    agent.take(ALICE + BOB)
    assert agent.says(FROM_ALICE) == agent.says(FROM_ALICE) == RIGHT
    agent.take(BOB)
    assert agent.says(FROM_ALICE) == passwords.NO
    assert agent.says(FROM_BOB) == RIGHT


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_user_removed_while_a_question_is_answered_is_not_remembered(agent: Lookup, moment: str) -> None:
    agent.take(ALICE + BOB)
    setattr(agent.version, moment, lambda: agent.take(BOB))
    agent.says(FROM_ALICE)  # may still be right: it was asked before the change
    assert agent.says(FROM_ALICE) == passwords.NO
    assert agent.says(FROM_BOB) == RIGHT


def test_what_was_right_costs_no_second_hash(agent: Lookup, monkeypatch: pytest.MonkeyPatch) -> None:
    agent.take(ALICE)
    assert agent.says(FROM_ALICE) == RIGHT
    monkeypatch.setattr("forksocks.access.hashes.matches", lambda *_: pytest.fail("a hash was computed"))
    assert agent.says(FROM_ALICE) == RIGHT
