"""Rules and limits as `forksocksctl show` has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from forksocks.access.cases import Judge
from forksocks.access.limits import Gauge
from forksocks.access.policy import compiled
from forksocks.config.load import load_text
from forksocks.host.routes import Routes
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.books import Books
from forksocks.host.scoreboard.hits import Hits
from forksocks.host.scoreboard.page import Page
from forksocks.host.scoreboard.slots import Slots
from forksocks.status import tunnels
from forksocks.status.answers import answer
from forksocks.status.frame import Sources
from forksocks.status.lines import Lines
from forksocks.status.watch import Watch

TEXT = """
[[listen]]
name = "lan"
bind = ["127.0.0.1:1080"]
[[rule]]
name = "no-mail"
ports = [25, "6000-6063"]
to = ["192.0.2.0/24", ".example.com"]
action = "drop"
[[rule]]
name = "rest"
limits = ["person"]
action = "allow"
[limit.person]
per = "user"
connections = 20
[limit.network]
per = "address/24+64"
connections = 30
associations = 2
new = "5/s burst 10"
[limit.datagrams]
per = "all"
associations = 7
"""


class Served:
    number = 0

    def __init__(self, text: str, routes: Routes) -> None:
        self.config = load_text(text).config
        rules = compiled(self.config)
        self.board = Board.make(("lan",), 8, len(rules.names))
        self.slots = Slots(self.board)
        self.hits = Hits(self.board, rules.names)
        books = Books()
        books.publish({"processes": []})
        watch = Watch(books.page, {2: self.board}, books.refused)
        judge = Judge(self.config, rules, routes, in_container=False)
        left = Board.make(rules=len(rules.names))
        Hits(left, rules.names).note("rest")
        self.sources = Sources(
            watch,
            Lines({}),
            self.config,
            1,
            Page.make(4096),
            1,
            judge,
            Gauge(self.config, [], b"key"),
            [self.board, left],
            Page.make(256),
        )

    def carry(self, user: bytes, client: str, command: int = 1) -> None:
        slot = self.slots.take(0)
        self.number += 1
        slot.begin(self.number, client)
        slot.login(user)
        slot.asked(command, b"example.com", 443)
        slot.relaying()

    def says(self, verb: str, **filters: str) -> list[dict[str, Any]]:
        return list(answer({"verb": verb, "filters": filters}, self.sources, may_change=False))


@pytest.fixture
def routes() -> Iterator[Routes]:
    made = Routes()
    yield made
    made.close()


def test_rules_in_their_order_with_their_hits(routes: Routes) -> None:
    served = Served(TEXT, routes)
    for name in ("rest", "rest", None):
        served.hits.note(name)
    mail, rest, none = served.says("rules")
    assert (mail["rule"], mail["action"], mail["hits"], mail["last"]) == ("no-mail", "drop", 0, None)
    assert mail["when"] == 'to = ["192.0.2.0/24", ".example.com"], ports = ["25", "6000-6063"]'
    assert (rest["rule"], rest["hits"], rest["when"]) == ("rest", 3, "")
    assert rest["last"] >= 0
    assert (none["rule"], none["action"], none["hits"]) == ("", "deny", 1)
    assert [each["rule"] for each in served.says("rules", action="drop")] == ["no-mail"]


def test_without_any_there_are_none(routes: Routes) -> None:
    served = Served("", routes)
    assert served.says("rules") == served.says("limits") == []


def test_limits_and_who_has_most(routes: Routes, monkeypatch: pytest.MonkeyPatch) -> None:
    served = Served(TEXT, routes)
    for user, client in ((b"bob", "192.0.2.1:1"), (b"bob", "192.0.2.2:2"), (b"al", "[2001:db8::1]:3")):
        served.carry(user, client)
    served.carry(b"al", "unix", command=3)
    served.carry(b"al", "unix", command=3)
    served.slots.take(0).begin(99, "192.0.2.3:4")  # has not been granted anything
    monkeypatch.setattr(  # of a worker that answers
        tunnels, "_rules", lambda server, ids: {name: "rest" if name > "2" else "" for _, name in ids}
    )
    monkeypatch.setattr(tunnels, "identity", lambda worker, number: str(number))
    person, network, datagrams = served.says("limits")
    assert (person["limit"], person["per"], person["connections"]) == ("person", "user", 20)
    assert (person["rules"], person["who"], person["most"]) == (["rest"], "al", 3)
    assert person["subjects"] == 1, "only what its rules allow"
    assert (network["who"], network["most"], network["subjects"]) == ("192.0.2.0/24", 2, 3)
    assert (network["associations"], network["new"]) == (2, "5/s burst 10")
    assert (datagrams["who"], datagrams["most"], datagrams["connections"]) == ("all", 2, None)
