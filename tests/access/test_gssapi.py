"""Logins without Kerberos: the library's part is played, what is ours is not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from forksocks.access import gssapi, passwords
from forksocks.access.gssapi import Logins, Refused
from forksocks.config.model import GssapiConfig
from forksocks.host import gss, keytab
from forksocks.host.gss import Failed, Step


class FakeAcceptor:
    """Tokens say what they lead to: `more`, `no`, or the principal and what is unique."""

    def __init__(self, _keytab: str) -> None: ...

    def begin(self) -> list[bytes]:
        return []

    def step(self, context: list[bytes], token: bytes) -> Step:
        context.append(token)
        if token == b"no":
            raise Failed("not you")
        if token == b"more":
            return Step(b"next")
        principal, _, once = token.partition(b" ")
        return Step(b"done", principal, b"exported " + b"/".join(context), once)


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> Logins:
    monkeypatch.setattr(gss, "Acceptor", FakeAcceptor)
    monkeypatch.setattr(keytab, "copy", lambda path: f"MEMORY:{path}")
    return Logins(
        GssapiConfig(Path("/x"), realms=("HOME",)), lambda name: ("staff", "b") if name == b"alice" else ()
    )


def ask(logins: Logins, token: bytes, conversation: bytes = bytes(16)) -> gssapi.Answer:
    question = gssapi.question(conversation, token)
    assert gssapi.is_question(question)
    return gssapi.read_answer(logins.answer(question))


def test_a_login_ends_with_a_user_and_a_context(logins: Logins) -> None:
    answer = gssapi.Answer(b"done", b"alice", b"exported alice@HOME 1", ("staff", "b"))
    assert ask(logins, b"alice@HOME 1") == answer


def test_several_tokens_belong_together(logins: Logins) -> None:
    one, two = os.urandom(16), os.urandom(16)
    assert ask(logins, b"more", one) == gssapi.Answer(b"next")
    assert ask(logins, b"alice@HOME 1", two).exported == b"exported alice@HOME 1"
    assert ask(logins, b"bob@HOME 2", one).exported == b"exported more/bob@HOME 2"
    assert ask(logins, b"bob@HOME 3", one).exported == b"exported bob@HOME 3", "it was at its end"


def test_what_the_library_refuses_is_refused(logins: Logins) -> None:
    with pytest.raises(Refused, match="not you"):
        ask(logins, b"no")


def test_a_login_does_not_go_on_for_ever(logins: Logins) -> None:
    for _ in range(gssapi.MOST_STEPS - 1):
        ask(logins, b"more")
    with pytest.raises(Refused, match="too many tokens"):
        ask(logins, b"more")


def test_who_begins_and_never_finishes_costs_little(logins: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gssapi, "MOST_BEGUN", 3)
    now = [1000.0]
    monkeypatch.setattr(gssapi, "monotonic", lambda: now[0])
    for number in range(3):
        ask(logins, b"more", bytes([number] * 16))
    with pytest.raises(Refused, match="at once"):
        ask(logins, b"more", b"x" * 16)
    now[0] += gssapi.FORGET
    ask(logins, b"more", b"x" * 16)


def test_a_token_is_good_once(logins: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(gssapi, "monotonic", lambda: now[0])
    ask(logins, b"alice@HOME 1")
    ask(logins, b"alice@HOME 2")
    for _ in range(2):
        with pytest.raises(Refused, match="used before"):
            ask(logins, b"alice@HOME 1")
    now[0] += gssapi.MEMORY - 1
    with pytest.raises(Refused):
        ask(logins, b"alice@HOME 2")


def test_the_memory_of_tokens_is_bounded(logins: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gssapi, "MOST_REMEMBERED", 2)
    for number in range(5):
        ask(logins, b"alice@HOME %d" % number)
    with pytest.raises(Refused):
        ask(logins, b"alice@HOME 4")


@pytest.mark.parametrize(
    ("principal", "user"),
    [
        (b"alice@HOME", b"alice"),
        (b"alice/admin@HOME", b"alice/admin"),
        (b"alice@ELSEWHERE", b"alice@ELSEWHERE"),
        (b"alice\\@HOME@ELSEWHERE", b"alice\\@HOME@ELSEWHERE"),
        (b"alice@home", b"alice@home"),
        (b"alice", b"alice"),
        (b"HOME", b"HOME"),
    ],
)
def test_principals_are_users(principal: bytes, user: bytes) -> None:
    assert gssapi.user_of(principal, ("HOME", "OTHER")) == user


def test_a_context_that_is_too_large_is_refused(logins: Logins, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(_self: Any, _context: Any, _token: bytes) -> Step:
        return Step(b"", b"alice", bytes(70_000), b"1")

    monkeypatch.setattr(FakeAcceptor, "step", step)
    with pytest.raises(Refused, match="too large"):
        ask(logins, b"x")


def test_without_a_keytab(tmp_path: Path) -> None:
    with pytest.raises(keytab.KeytabError, match="no keytab"):
        Logins(GssapiConfig(), lambda name: ())


def test_questions_about_passwords_are_none_of_ours() -> None:
    assert not gssapi.is_question(passwords.question(b"alice", b"secret", None))
