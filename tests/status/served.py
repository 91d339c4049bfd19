"""A scoreboard with sessions on it, and what is answered about them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from forksocks.access.cases import Judge
from forksocks.access.limits import Gauge
from forksocks.access.rules import Rules
from forksocks.config.load import load_text
from forksocks.host.routes import Routes
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.books import Books
from forksocks.host.scoreboard.identity import numbers
from forksocks.host.scoreboard.page import Page
from forksocks.host.scoreboard.slots import Slots
from forksocks.status.answers import answer
from forksocks.status.frame import Sources
from forksocks.status.lines import Lines
from forksocks.status.watch import Watch

CONFIG = load_text("[server]\nthreads = 77\n").config
FACTS = {
    "version": "1.2", "pid": 7, "state": "running", "generation": 3, "threads": 8, "started_ns": 0,
    "listeners": [{"name": "lan", "address": "192.0.2.1:1080"}, {"name": "lan", "address": "[::1]:1080"}],
    "processes": [
        {
            "key": key, "role": role, "number": number, "pid": 7 + key, "generation": 3, "born_ns": 0,
            "ready": True, "ending": False,
        }
        for key, role, number in ((1, "lookup", 0), (2, "worker", 1))
    ],
}  # fmt: skip


class Server:
    def __init__(self) -> None:
        self.numbers = numbers(0x69255E41)
        self.board = Board.make(("lan",), 8)
        self.slots = Slots(self.board)
        self.books = Books()
        self.books.totals.died("killed by SIGSEGV", 2)
        self.books.publish(FACTS)
        self.lines = Lines({})
        self.watch = Watch(self.books.page, {2: self.board}, self.books.refused)
        self.bans = Page.make(4096)
        self.loud = Page.make(256)
        self.generation = 3
        self.routes = Routes()
        self.judge = Judge(CONFIG, Rules([]), self.routes, in_container=False)
        self.gauge = Gauge(CONFIG, [], b"key")

    @property
    def sources(self) -> Sources:
        return Sources(
            self.watch, self.lines, CONFIG, 1, self.bans, self.generation, self.judge, self.gauge,
            [self.board], self.loud,
        )  # fmt: skip

    def carry(self, user: bytes, client: str = "192.0.2.1:5000", port: int = 443) -> Any:
        slot = self.slots.take(0)
        slot.begin(next(self.numbers), client)
        slot.login(user)
        slot.asked(1, "example.com", port)
        slot.reached(ip_address("192.0.2.9"))
        return slot

    def says(self, verb: str, **filters: str) -> list[dict[str, Any]]:
        return list(answer({"verb": verb, "filters": filters}, self.sources, may_change=True))
