from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from forksocks.access import limits
from forksocks.access.limits import Exceeded, Gauge, Holding, Limits
from forksocks.access.rules import Question
from forksocks.config.load import load_text
from forksocks.config.model import CommandName, Config
from forksocks.host.scoreboard.claims import ClaimBoard, Claims

Make = Callable[[str], Limits]


@pytest.fixture
def make() -> Iterator[Make]:
    boards = []

    def make(text: str) -> Limits:
        config = load_text(text).config
        boards.append(ClaimBoard.make(64, limits.columns(config)))
        return Limits(config, Claims(boards[-1], [boards[-1]]), b"key")

    yield make
    for board in boards:
        board.close()


def asked(client: str | None = "10.1.2.3", user: bytes | None = b"alice", listener: str = "lan",
          command: CommandName = CommandName.CONNECT) -> Question:  # fmt: skip
    address = None if client is None else ip_address(client)
    return Question(address, user, listener, command, None, ip_address("93.184.216.34"), 443)


def claimed(limits: Limits, *questions: Question, rule: str | None = None) -> list[str]:
    """What each is told: "" or which limit is reached."""
    told = []
    for question in questions:
        try:
            limits.claim(question, rule)
            told.append("")
        except Exceeded as exceeded:
            told.append(str(exceeded))
    return told


@pytest.mark.parametrize(
    ("per", "same", "other"),
    [
        ("user", asked("10.9.9.9"), asked(user=b"bob")),
        ("address", asked(user=b"bob"), asked("10.1.2.4")),
        ("address/24+64", asked("10.1.2.99"), asked("10.1.3.3")),
        ("listen", asked(user=b"bob"), asked(listener="dmz")),
    ],
)
def test_what_is_counted_apart(make: Make, per: str, same: Question, other: Question) -> None:
    made = make(f'[limit.few]\nper = "{per}"\nconnections = 1\n')
    assert claimed(made, asked(), same, other) == ["", "few: 1 connections", ""]


def test_prefixes_of_ipv6(make: Make) -> None:
    made = make('[limit.few]\nper = "address/24+64"\nconnections = 1\n')
    told = claimed(
        made, asked("2a00::1"), asked("2a00::ffff:2"), asked("2a00:0:0:1::1"), asked(None), asked(None)
    )
    assert told == ["", "few: 1 connections", "", "", "few: 1 connections"]


def test_all_and_nobody(make: Make) -> None:
    made = make('[limit.all]\nper = "all"\nconnections = 1\n[limit.user]\nper = "user"\nconnections = 1\n')
    assert claimed(made, asked(user=None), asked("10.9.9.9")) == ["", "all: 1 connections"]
    made = make('[limit.user]\nper = "user"\nconnections = 1\n')
    assert claimed(made, asked(user=None), asked(user=None)) == ["", ""]


RULES = """
[[rule]]
name = "bulk"
ports = [80]
action = "allow"
limits = ["bulk"]
[[rule]]
name = "rest"
action = "allow"
[limit.bulk]
per = "rule"
connections = 1
[limit.every]
per = "all"
connections = 3
"""


def test_a_limit_that_a_rule_names_is_that_rules(make: Make) -> None:
    made = make(RULES)
    assert claimed(made, asked(), asked(), rule="bulk") == ["", "bulk: 1 connections"]
    assert claimed(made, asked(), asked(), asked(), rule="rest") == ["", "", "every: 3 connections"]


def test_a_place_is_given_back_and_a_refusal_keeps_none(make: Make) -> None:
    made = make('[limit.a]\nper = "all"\nconnections = 5\n[limit.b]\nper = "user"\nconnections = 1\n')
    first = made.claim(asked(), None)
    assert isinstance(first, Holding)
    for _ in range(9):
        assert claimed(made, asked()) == ["b: 1 connections"]
    first.give()
    assert claimed(made, asked()) == [""]


def test_associations_count_beside_connections(make: Make) -> None:
    made = make('[limit.a]\nper = "user"\nconnections = 3\nassociations = 1\n')
    udp = asked(command=CommandName.UDP)
    assert claimed(made, udp, udp, asked(), asked(), asked()) == [
        "",
        "a: 1 associations",
        "",
        "",
        "a: 3 connections",
    ]


def test_new_ones_over_time(make: Make) -> None:
    made = make('[limit.a]\nper = "user"\nnew = "2/d"\n')
    told = claimed(made, asked(), asked(), asked(), asked(user=b"bob"))
    assert told == ["", "", "a: new 2/d burst 2", ""]


def fills(config: Config, board: ClaimBoard, question: Question, rule: str | None = None) -> list[str]:
    return [f"{each.limit}: {each}" for each in Gauge(config, [board], b"key").fills(question, rule)]


def test_how_full_they_are_can_be_seen_from_outside() -> None:
    text = RULES + 'associations = 2\nnew = "9/d"\n[limit.person]\nper = "user"\nconnections = 9\n'
    config = load_text(text).config
    board = ClaimBoard.make(8, limits.columns(config))
    made = Limits(config, Claims(board, [board]), b"key")
    assert claimed(made, asked(), asked(user=b"bob"), rule="rest") == ["", ""]
    assert claimed(made, asked(command=CommandName.UDP), rule="bulk") == [""]
    assert fills(config, board, asked(), "bulk") == [
        "bulk: 1 of 1 connections", "every: 3 of 3 connections", "every: 3 of 9 new",
        "person: 2 of 9 connections",
    ]  # fmt: skip
    assert fills(config, board, asked(user=None, command=CommandName.UDP), "rest") == [
        "every: 3 of 3 connections", "every: 1 of 2 associations", "every: 3 of 9 new",
    ]  # fmt: skip
    full = [each.is_full for each in Gauge(config, [board], b"key").fills(asked(), "bulk")]
    assert full == [True, True, False, False]
    del made
    board.close()


def test_the_key_decides_where_a_number_stands() -> None:
    config = load_text('[limit.a]\nper = "user"\nconnections = 1\n').config
    boards = [ClaimBoard.make(4, 1) for _ in range(2)]
    for board, key in zip(boards, (b"one", b"two"), strict=True):
        Limits(config, Claims(board, [board]), key).claim(asked(), None)
    assert boards[0].readable[:] != boards[1].readable[:]
    for board in boards:
        board.close()
