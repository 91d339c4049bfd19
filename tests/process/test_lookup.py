from __future__ import annotations

import json
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from forksocks.access import hashes, passwords
from forksocks.access.hashes import Parameters, hashed
from forksocks.config.model import Address, AuthConfig, Config, Level, LockoutConfig, LogConfig, ServerConfig
from forksocks.host import signals
from forksocks.host.log import Log
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.page import Page
from forksocks.host.version import Version
from forksocks.process import lookup

HOME = ip_address("192.0.2.1")
CHEAP = Parameters(memory=8, passes=1, lanes=1)
ALICE = b"alice:" + hashed(b"secret", CHEAP) + b"\n"
BOB = b"bob:" + hashed(b"secret", CHEAP) + b"\n"
FROM_ALICE = passwords.question(b"alice", b"secret", HOME)
RIGHT = passwords.yes()
FROM_BOB = passwords.question(b"bob", b"secret", HOME)


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


class Lookup:
    """An agent that nobody has forked, asked without its channels."""

    def __init__(self, path: Path, earlier_bans: bytes = b"") -> None:
        self._path = path
        self._line, self._ours = socket.socketpair()
        self._log = Log.open(LogConfig(level=Level.ERROR))
        self.version = Interrupted()
        self.bans = Page.make(4096)
        around = lookup.Surroundings(
            self._line, (), (), self._line, self.version, None, Board.make(), self.bans, earlier_bans
        )
        self._agent = lookup.Agent(Config(ServerConfig(), (), auth=AuthConfig(users=path)), around, self._log)

    def take(self, content: bytes) -> None:
        self._path.write_bytes(content)
        self._path.chmod(0o600)
        self._agent._read_users(os.open(self._path, os.O_RDONLY))  # noqa: SLF001 - as the supervisor's word does

    def says(self, question: bytes) -> bytes:
        return self._agent._answer_password(question)  # noqa: SLF001 - as a channel's thread does

    def ordered(self, verb: str, **about: str) -> dict[str, Any]:
        question = json.dumps({"verb": verb, "ids": [about]}).encode()
        answer = self._agent._answer_order(question)  # noqa: SLF001 - as the thread of the admin process's channel does
        return dict(json.loads(answer))

    def save(self) -> bytes:
        self._agent._lockout.save()  # noqa: SLF001 - as its main thread does every second
        return self.bans.read()

    def close(self) -> None:
        self.bans.close()
        self._line.close()
        self._ours.close()
        self._log.close(1)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lookup]:
    monkeypatch.setattr(signals, "of_a_child", lambda: None)  # the signals stay those of the tests
    made = Lookup(tmp_path / "users")
    yield made
    made.close()


def test_without_a_users_file_nobody_is_right_or_wrong(agent: Lookup) -> None:
    for _ in range(20):  # none counts as a failure
        assert agent.says(FROM_ALICE) == passwords.UNAVAILABLE
    agent.take(ALICE)
    assert agent.says(FROM_ALICE) == RIGHT


def test_what_cannot_be_computed_is_neither_right_nor_wrong(
    agent: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: bytes) -> bool:
        raise MemoryError("not enough memory")

    agent.take(ALICE)
    with monkeypatch.context() as short:
        short.setattr("forksocks.access.hashes.matches", fails)
        for _ in range(20):
            assert agent.says(FROM_ALICE) == passwords.UNAVAILABLE
    assert agent.says(FROM_ALICE) == RIGHT


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


def test_who_guesses_is_banned_without_another_hash(
    agent: Lookup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.take(ALICE)
    guess = passwords.question(b"alice", b"wrong", HOME)
    assert {agent.says(guess) for _ in range(LockoutConfig().failures)} == {passwords.NO}
    monkeypatch.setattr("forksocks.access.hashes.matches", lambda *_: pytest.fail("a hash was computed"))
    for question in (guess, FROM_ALICE):
        with pytest.raises(passwords.Banned) as caught:
            passwords.read_answer(agent.says(question))
        assert 0 < caught.value.seconds <= LockoutConfig().ban
    successor = Lookup(tmp_path / "users", agent.save())
    successor.take(ALICE)
    with pytest.raises(passwords.Banned):
        passwords.read_answer(successor.says(FROM_ALICE))
    assert successor.save() != b""
    successor.close()


def test_the_answer_says_which_groups_the_user_is_in(agent: Lookup) -> None:
    agent.take(ALICE.rstrip() + b":staff,admin\n")
    for _ in range(2):  # computed, and remembered
        assert passwords.read_answer(agent.says(FROM_ALICE)) == passwords.Right(math.inf, ("staff", "admin"))
    agent.take(ALICE.rstrip() + b":guests\n")
    assert passwords.read_answer(agent.says(FROM_ALICE)) == passwords.Right(math.inf, ("guests",))


def test_who_has_logged_in_from_there_is_not_locked_out_by_others(agent: Lookup) -> None:
    agent.take(ALICE)
    assert agent.says(FROM_ALICE) == RIGHT
    agent.take(ALICE + BOB)  # what was remembered is forgotten
    for number in range(50):
        agent.says(passwords.question(b"alice", b"wrong", ip_address(f"203.0.113.{number}")))
    with pytest.raises(passwords.Banned):
        passwords.read_answer(agent.says(passwords.question(b"alice", b"secret", None)))
    assert agent.says(FROM_ALICE) == RIGHT


@pytest.mark.parametrize("client", [None, HOME, ip_address("2a00::1")])
def test_a_question_says_who_asks(client: Address | None) -> None:
    for name, password in ((b"a", b""), (b"\xff" * 255, b"b" * 255), (b"ab", b"c")):
        assert passwords.read_question(passwords.question(name, password, client)) == (name, password, client)


def test_a_crowd_of_one_user_costs_one_hash_for_each_that_is_computed_at_once(
    agent: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.take(ALICE)
    crowd = 4 * lookup.HASHES_AT_ONCE
    computed: list[bool] = []
    together = threading.Barrier(crowd, timeout=60)

    def compute(*arguments: bytes) -> bool:
        if not computed:
            time.sleep(0.05)  # the others come while the first is at it
        computed.append(matches(*arguments))
        return computed[-1]

    def ask() -> None:
        together.wait()
        answers.append(agent.says(FROM_ALICE))

    matches = hashes.matches
    monkeypatch.setattr("forksocks.access.hashes.matches", compute)
    answers: list[bytes] = []
    threads = [threading.Thread(target=ask) for _ in range(crowd)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [RIGHT] * crowd
    assert 1 <= len(computed) <= lookup.HASHES_AT_ONCE


@pytest.mark.parametrize("name", [b"alice", b"nobody", b"\xff" * 255, b""])
@pytest.mark.parametrize("users", [ALICE, ALICE + BOB, b""], ids=["one", "two", "nobody"])
def test_a_wrong_password_costs_one_hash_whoever_it_is_for(
    agent: Lookup, monkeypatch: pytest.MonkeyPatch, users: bytes, name: bytes
) -> None:
    agent.take(users)
    costs = []

    def matches(encoded: bytes, _: bytes) -> bool:
        costs.append(encoded.split(b"$")[3])
        return False

    monkeypatch.setattr("forksocks.access.hashes.matches", matches)
    assert agent.says(passwords.question(name, b"guess", None)) == passwords.NO
    assert costs == [b"m=8,t=1,p=1" if users else b"m=65536,t=3,p=4"]


def test_bans_by_hand_hold_for_who_has_proven_a_password_until_they_are_lifted(agent: Lookup) -> None:
    agent.take(ALICE)
    assert agent.says(FROM_ALICE) == RIGHT
    before = agent.version.read()
    for who in ({"user": "alice"}, {"network": "192.0.2.0/28"}):
        (banned,) = agent.ordered("ban", **who)["bans"]
        assert (banned["by"], banned["until"]) == ("hand", None)
        assert agent.version.read() > before, "workers remember that the password was right"
        with pytest.raises(passwords.Banned, match="until it is lifted"):
            passwords.read_answer(agent.says(FROM_ALICE))
        assert agent.ordered("unban", **who)["bans"] == [banned]
        assert agent.says(FROM_ALICE) == RIGHT


def test_a_ban_that_was_lifted_is_forgotten_with_its_failures(agent: Lookup) -> None:
    agent.take(ALICE)
    guess = passwords.question(b"alice", b"wrong", HOME)
    for _ in range(LockoutConfig().failures):
        agent.says(guess)
    (network,) = agent.ordered("unban", network="192.0.0.0/16")["bans"]
    (user,) = agent.ordered("unban", user="alice")["bans"]
    assert (network["network"], network["failures"]) == ("192.0.2.1/32", LockoutConfig().failures)
    assert (user["user"], user["by"], user["bans"]) == ("alice", "lockout", 1)
    assert agent.says(guess) == passwords.NO
    assert agent.says(FROM_ALICE) == RIGHT
    assert agent.ordered("unban", user="alice")["bans"] == []


@pytest.mark.parametrize(
    "about", [{}, {"network": "nonsense"}, {"user": "a b"}, {"user": "a", "until": "soon"}]
)
def test_an_order_that_makes_no_sense_is_refused(agent: Lookup, about: dict[str, str]) -> None:
    assert set(agent.ordered("ban", **about)) == {"error"}
    assert agent.ordered("dance", **about) == {}
