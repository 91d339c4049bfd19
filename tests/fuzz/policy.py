"""Rules, sets and limits: a configuration, a zero byte, and questions of twelve bytes each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from forksocks.access import limits
from forksocks.access.limits import Exceeded, Holding, Limits
from forksocks.access.policy import PolicyError, compiled
from forksocks.access.rules import NO_RULE, Decision, Question, Rules
from forksocks.config.load import ConfigError, load_text
from forksocks.config.model import CommandName, Config
from forksocks.host.scoreboard.claims import ClaimBoard, Claims

QUESTION = 12
MOST_QUESTIONS = 8
SESSIONS = 6  # as many as are claimed at once
USERS = (None, b"a", b"b")
NAMES = (None, "a.example", "example", "b.a.example")
COMMANDS = tuple(CommandName)


def decide(data: bytes) -> None:
    """What is decided is what the rules that were tried say, and no address makes a refused name allowed."""
    text, _, asked = data.partition(b"\0")
    try:
        config = load_text(text.decode("utf-8", "surrogateescape"), base=Path("/base")).config
        rules = compiled(config)
    except (ConfigError, PolicyError):
        return
    for question in questions(asked):
        _judge(rules, question)
        _limit(config, question, rules)


def questions(data: bytes) -> Iterator[Question]:
    """A byte each: client's family, user, name, command, two of the port's; three bytes end each address."""
    for at in range(0, min(len(data), QUESTION * MOST_QUESTIONS), QUESTION):
        piece = data[at : at + QUESTION].ljust(QUESTION, b"\1")
        six = piece[0] & 1
        client = ip_address(piece[6:9].rjust(16 if six else 4, b"\x0a"))
        to = ip_address(piece[9:12].rjust(16 if piece[0] & 2 else 4, b"\x20"))
        yield Question(
            None if piece[0] & 4 else client, USERS[piece[1] % len(USERS)], "default",
            COMMANDS[piece[3] % len(COMMANDS)], NAMES[piece[2] % len(NAMES)], to,
            int.from_bytes(piece[4:6], "big"),
        )  # fmt: skip


def _judge(rules: Rules, question: Question) -> None:
    decision = rules.decide(question)
    tried = list(rules.tried(question))
    fitting = [Decision(rule.action, rule.name) for rule, against in tried if not against]
    assert decision == (fitting[0] if fitting else NO_RULE)
    assert len(fitting) <= 1
    early = rules.decide(replace(question, address=None))
    if early is not None:
        assert early.allowed == decision.allowed
        assert not early.allowed or early == decision


def _limit(config: Config, question: Question, rules: Rules) -> None:
    """Never more at once than a limit allows, and the same again when all are given back."""
    decision = rules.decide(question)
    board = ClaimBoard.make(SESSIONS, limits.columns(config))
    granted = _granted_twice(config, board, question, decision.rule if decision else None)
    board.close()
    named = {name for rule in config.rule for name in rule.limits}
    for_all = [limit.connections for name, limit in config.limit.items() if name not in named]
    if not config.rule and "user" not in {limit.per.value for limit in config.limit.values()}:
        assert granted[0] <= min([SESSIONS, *(most for most in for_all if most is not None)])
    assert granted[1] <= granted[0]
    if all(limit.new is None for limit in config.limit.values()):
        assert granted[1] == granted[0]


def _granted_twice(
    config: Config, board: ClaimBoard, question: Question, rule: str | None
) -> tuple[int, int]:
    made = Limits(config, Claims(board, [board]), b"key")
    return _granted(made, question, rule), _granted(made, question, rule)


def _granted(made: Limits, question: Question, rule: str | None) -> int:
    held: list[Holding] = []
    with contextlib.suppress(Exceeded):
        for _ in range(SESSIONS):
            held.append(made.claim(question, rule))
    for holding in held:
        holding.give()
    return len(held)
