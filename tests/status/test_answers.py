from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from forksocks.access.cases import Judge
from forksocks.access.rules import Rules
from forksocks.config.load import load_text
from forksocks.config.model import Level
from forksocks.host import channels
from forksocks.host.causes import Cause
from forksocks.host.log import loudness
from forksocks.host.scoreboard import layout
from forksocks.host.scoreboard.layout import COUNTERS
from forksocks.host.scoreboard.refusals import Refusals
from forksocks.status import recheck
from forksocks.status import watch as watching
from forksocks.status.answers import VERBS, BadRequest, answer
from forksocks.status.lines import Lines
from forksocks.status.watch import EVERY, Watch
from tests.status.served import FACTS, Server


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.routes.close()


def test_status(server: Server) -> None:
    slot = server.carry(b"alice")
    slot.cells[slot.up] += 3
    server.carry(b"bob").end(Cause.IDLE)
    (status,) = server.says("status")
    assert (status["version"], status["pid"], status["state"]) == ("1.2", 7, "running")
    assert status["generation"] == 3
    assert status["sessions"] == {"open": 1, "states": {"tunnel": 1}}
    totals = status["totals"]
    assert (totals["accepted"], totals["up"], totals["ends"]) == (2, 3, {"idle": 1})
    assert totals["logins"] == {"none": 0, "password": 2, "gssapi": 0}
    assert totals["commands"]["connect"] == 2
    assert status["deaths"] == {"killed by SIGSEGV": 2}
    assert status["uptime"] > 0


def test_how_long_every_thread_was_busy_is_told_in_seconds(server: Server) -> None:
    server.slots.full(2, 1_500_000_000)
    (status,) = server.says("status")
    for told in (status["totals"], *status["workers"]):
        assert (told["full"], told["full_seconds"]) == (2, 1.5)


def test_all_of_an_answer_is_from_one_look(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is booked between two looks would be in one sum and not in the other."""
    see = Watch.see

    def look(watch: Watch) -> Any:
        server.carry(b"alice").end(Cause.IDLE)
        return see(watch)

    monkeypatch.setattr(Watch, "see", look)
    (status,) = server.says("status")
    told = [status["totals"], *status["listeners"], *status["workers"]]
    assert [each["accepted"] for each in told] == [1, 1, 1]


def test_an_order_about_the_log(server: Server) -> None:
    (told,) = server.says("log-level", level="debug", **{"from": "192.0.2.7", "for": "10m"})
    assert told["configured"] == "notice"
    order = told["order"]
    assert (order["level"], order["client"]) == ("debug", "192.0.2.7/32")
    assert 500 < order["for"] <= 600
    (status,) = server.says("status")
    assert status["log"]["order"]["level"] == "debug"
    (told,) = server.says("log-level", level="error")
    assert told["order"] == {"level": "error", "client": "", "for": None}
    server.loud.write(loudness.Order(Level.TRACE, until=1).written())
    (status,) = server.says("status")
    assert status["log"] == {"configured": "notice", "order": None}, "its time has passed"
    server.says("log-level", level="trace")
    (told,) = server.says("log-level", level="configured")
    assert told == {"configured": "notice", "order": None}
    for wrong in (
        {}, {"level": "loud"}, {"level": "debug", "client": "office"}, {"level": "debug", "for": "long"},
        {"level": "configured", "client": "192.0.2.7"},
    ):  # fmt: skip
        with pytest.raises(BadRequest):
            server.says("log-level", **wrong)
    with pytest.raises(BadRequest, match="only root"):
        list(answer({"verb": "log-level", "filters": {"level": "debug"}}, server.sources, may_change=False))


def test_a_server_that_has_done_nothing_yet(server: Server) -> None:
    server.books.publish({})
    server.watch = Watch(server.books.page, {}, server.books.refused)
    (status,) = answer({"verb": "status"}, server.sources, may_change=False)
    assert status["totals"]["accepted"] == status["sessions"]["open"] == 0
    assert status["workers"] == []


def test_workers(server: Server) -> None:
    server.carry(b"alice")
    server.slots.beat(threads=5, busy=1, waiting=4, draining=False)
    (worker,) = server.says("workers")
    assert (worker["worker"], worker["pid"], worker["generation"], worker["cap"]) == (1, 9, 3, 8)
    assert (worker["sessions"], worker["threads"], worker["waiting"], worker["draining"]) == (1, 5, 4, False)
    assert (worker["accepted"], worker["ready"]) == (1, True)


def test_listeners_of_now_and_those_that_have_counted_before(server: Server) -> None:
    server.books.totals.add({"old": [4, *[0] * (len(COUNTERS) - 1)]}, [0, 0])
    server.books.publish(FACTS)
    server.carry(b"alice")
    lan, old = server.says("listeners")
    assert (lan["listener"], lan["addresses"]) == ("lan", ["192.0.2.1:1080", "[::1]:1080"])
    assert (lan["accepted"], lan["sessions"]) == (1, 1)
    assert (old["listener"], old["addresses"], old["accepted"]) == ("old", [], 4)


def test_tunnels_and_filters(server: Server) -> None:
    server.carry(b"alice", "192.0.2.1:5000")
    server.carry(b"bob", "[2001:db8::1]:5001", port=80)
    assert [each["user"] for each in server.says("tunnels")] == ["alice", "bob"]
    (bob,) = server.says("tunnels", user="bob")
    assert (bob["id"], bob["state"]) == ("w1-69255e41-2", "tunnel")
    assert (bob["to"], bob["addr"]) == ("example.com:80", "192.0.2.9")
    for filters in ({"client": "192.0.2.1"}, {"client": "192.0.2.1:5000"}, {"to": "example.com:443"}):
        assert [each["user"] for each in server.says("tunnels", **filters)] == ["alice"], filters
    assert [each["user"] for each in server.says("tunnels", client="2001:db8::1")] == ["bob"]
    assert server.says("tunnels", user="alice", to="example.com:80") == []
    assert server.says("tunnels", user="mallory") == []


@pytest.mark.parametrize(
    "request_",
    [
        None, 5, [], "status", {}, {"verb": 5}, {"verb": "reboot"}, {"verb": "__class__"},
        {"verb": "tunnels", "filters": 5}, {"verb": "tunnels", "filters": {"user": 5}},
        {"verb": "workers", "filters": {"colour": "red"}},
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense(server: Server, request_: object) -> None:
    with pytest.raises(BadRequest):
        list(answer(request_, server.sources, may_change=True))


def test_filters_are_fields_of_what_they_filter(server: Server) -> None:
    server.carry(b"alice")
    for name in ("workers", "listeners", "causes", "tunnels", "users", "clients"):
        fields = set(VERBS[name].fields) - {"rule", "older", "idler"}
        told = server.says(name)
        assert told
        assert all(fields <= set(each) for each in told)


def test_networks_patterns_and_times_are_filters(server: Server) -> None:
    slot = server.carry(b"alice", "192.0.2.1:5000")
    slot.cells[slot.at + layout.STARTED] -= 1_000_000_000
    server.carry(b"bob:alice", "[2001:db8::1]:5001", port=80)
    assert [each["user"] for each in server.says("tunnels", **{"from": "192.0.2.0/24"})] == ["alice"]
    assert [each["user"] for each in server.says("tunnels", client="2001:db8::/32")] == ["bob:alice"]
    assert [each["user"] for each in server.says("tunnels", to="*.com:80")] == ["bob:alice"]
    assert len(server.says("tunnels", to="*.com")) == 2
    for filters in ({"older": "1s"}, {"idler": "1s"}):
        assert server.says("tunnels", **filters)[0]["user"] == "alice"
    for filters in ({"older": "1h"}, {"user": "bob"}, {"client": "192.0.3.0/24"}, {"to": "*.org"}):
        assert server.says("tunnels", **filters) == [], "a name is a whole name"
    for filters in ({"older": "soon"}, {"from": "192.0.2.1", "client": "192.0.2.1"}):
        with pytest.raises(BadRequest):
            server.says("tunnels", **filters)


def test_users_clients_and_causes(server: Server) -> None:
    for port, user in enumerate((b"alice", b"alice", b"bob")):
        slot = server.carry(user, f"192.0.2.{len(user)}:{port}")
        slot.cells[slot.down] += 10 if user == b"bob" else 1
    server.carry(b"carol").end(Cause.IDLE)
    assert [(each["user"], each["sessions"], each["down"]) for each in server.says("users")] == [
        ("bob", 1, 10),
        ("alice", 2, 2),
    ]
    assert [each["client"] for each in server.says("clients")] == ["192.0.2.3", "192.0.2.5"]
    assert [each["sessions"] for each in server.says("clients", client="192.0.2.5")] == [2]
    assert [each["cause"] for each in server.says("causes") if each["sessions"]] == ["idle"]
    assert len(server.says("causes")) == len(Cause)


def test_refusals(server: Server) -> None:
    pen = Refusals(server.board.writable, server.board.refusals or 0)
    for text in (
        b'{"cause":"denied","client":"192.0.2.1:5000","cmd":"connect","user":"a\\u001b","first":"0501"}',
        b'{"cause":"limited","client":"[2001:db8::1]:7"}', b"[]", b"5", b'{"cause":', b"\xff",
    ):  # fmt: skip
        pen.note(text)
    denied, limited = server.says("refusals")
    assert (denied["command"], denied["user"], denied["first"]) == ("connect", "a\\x1b", "0501")
    assert all(0 <= each["age"] < 60 for each in (denied, limited))
    assert server.says("refusals", cause="limited") == [
        limited | {"age": pytest.approx(limited["age"], abs=99)}
    ]
    assert [each["cause"] for each in server.says("refusals", **{"from": "192.0.2.0/24"})] == ["denied"]


def test_only_who_may_changes_something(server: Server) -> None:
    request_ = {"verb": "end", "filters": {"user": "alice"}}
    with pytest.raises(BadRequest, match="only root"):
        list(answer(request_, server.sources, may_change=False))
    assert server.says("end", user="alice") == []
    with pytest.raises(BadRequest, match="which"):
        server.says("end")


def test_what_is_served_by(server: Server) -> None:
    told = {each["key"]: each["value"] for each in server.says("settings")}
    assert told["server.threads"] == "77"
    assert told["listen.default.auth"] == '["none"]'


def test_a_worker_that_does_not_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forksocks.status.lines.PATIENCE", 0.05)
    ours, theirs = channels.pair()
    with ours, theirs:
        server.lines = Lines({2: ours})
        server.carry(b"alice")
        (alice,) = server.says("tunnels")
        for verb in ("end", "tunnel"):
            with pytest.raises(BadRequest, match="does not answer"):
                server.says(verb, id=alice["id"])
        assert server.says("tunnels", rule="staff") == []


def test_rates(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(watching, "monotonic", lambda: now)
    assert server.watch.rates() == {"connections": 0.0, "up": 0.0, "down": 0.0}
    for _ in range(20):
        server.watch.sample()
        slot = server.carry(b"alice")
        slot.cells[slot.down] += 200
        slot.end(Cause.IDLE)
        server.slots.give(slot)
        now += EVERY / 2
    assert server.watch.rates() == {"connections": 2 / EVERY, "up": 0.0, "down": 400 / EVERY}


def test_rates_go_on_when_the_books_cannot_be_read(server: Server) -> None:
    server.books.page.writable[0] = 1
    server.watch.sample()
    assert server.watch.rates()["connections"] == 0.0


def test_nothing_is_rechecked_by_a_generation_that_does_not_serve(server: Server) -> None:
    assert server.says("recheck") == []
    server.generation = 2
    for verb in ("recheck", "recheck-end"):
        with pytest.raises(BadRequest, match="a reload is under way"):
            server.says(verb)


@pytest.mark.parametrize(
    ("told", "now"),
    [
        ({}, "allow"),
        ({"addr": "127.0.0.1"}, "deny @loopback"),
        ({"listen": "gone"}, "deny @listen"),
        ({"command": 2}, "deny @commands"),
        ({"command": 99}, "deny @unknown"),
        ({"client": "203.0.113.1"}, "deny @clients"),
        ({"user": "00"}, "deny @clients"),  # its listener knows no users any more
        ({"addr": "nonsense"}, "deny @unknown"),
    ],
)
def test_what_a_worker_says_is_judged_as_today(server: Server, told: dict[str, Any], now: str) -> None:
    config = load_text('[access]\nallow_from = ["192.0.2.0/24"]\n').config
    judge = Judge(config, Rules([]), server.routes, in_container=False)
    asked: dict[str, Any] = {
        "client": "192.0.2.7", "user": None, "groups": [], "listen": config.listen[0].name, "command": 1,
        "name": "example.com", "port": 80, "addr": "93.184.216.34",
    }  # fmt: skip
    assert str(recheck._verdict(judge, config, asked | told)) == now  # noqa: SLF001 - no worker says such things
