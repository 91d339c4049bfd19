from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from time import monotonic_ns

import pytest

from forksocks.config.model import Level, LogConfig
from forksocks.host.deadline import NS
from forksocks.host.log import Log
from forksocks.host.log.loudness import ROOM, Loudness, Order
from forksocks.host.scoreboard.page import Page

WITHIN, OUTSIDE = ip_address("192.0.2.7"), ip_address("192.0.3.7")
NETWORK = ip_network("192.0.2.0/24")


@pytest.fixture
def page() -> Page:
    return Page.make(ROOM)


@pytest.fixture
def loudness(page: Page) -> Loudness:
    return Loudness(page, Log.open(LogConfig(level=Level.NOTICE)))


def test_an_order_is_about_its_clients_until_it_is_taken_back(page: Page, loudness: Loudness) -> None:
    page.write(Order(Level.DEBUG, NETWORK).written())
    assert loudness.of(WITHIN).level is Level.NOTICE, "not heard of yet"
    loudness.look()
    levels = [loudness.of(each).level for each in (WITHIN, OUTSIDE, None)]
    assert levels == [Level.DEBUG, Level.NOTICE, Level.NOTICE]
    page.write(Order(Level.ERROR).written())
    loudness.look()
    assert {loudness.of(each).level for each in (WITHIN, OUTSIDE, None)} == {Level.ERROR}
    page.write(b"")
    loudness.look()
    assert loudness.of(WITHIN).level is Level.NOTICE


def test_its_time_passes_by_itself(page: Page, loudness: Loudness, monkeypatch: pytest.MonkeyPatch) -> None:
    now = monotonic_ns()
    order = Order(Level.TRACE, until=now + 10 * NS)
    page.write(order.written())
    loudness.look()
    monkeypatch.setattr("forksocks.host.log.loudness.monotonic_ns", lambda: now + 9 * NS)
    assert loudness.of(WITHIN).level is Level.TRACE
    assert order.left == 1.0
    monkeypatch.setattr("forksocks.host.log.loudness.monotonic_ns", lambda: now + 10 * NS)
    assert loudness.of(WITHIN).level is Level.NOTICE
    assert order.left == 0.0


def test_a_rule_says_how_much_where_there_is_no_order(page: Page, loudness: Loudness) -> None:
    usual = loudness.of(WITHIN)
    assert loudness.by_rule(usual, Level.ERROR).level is Level.ERROR
    page.write(Order(Level.DEBUG).written())
    loudness.look()
    assert loudness.by_rule(loudness.of(WITHIN), Level.ERROR).level is Level.DEBUG


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"[9,null,null]",
        b'[1,"office",null]',
        b'[1,null,"x"]',
        b"\xff",
        b"[" * 200,
    ],
)
def test_what_makes_no_sense_is_no_order(page: Page, loudness: Loudness, text: bytes) -> None:
    page.write(text)
    loudness.look()
    assert loudness.of(WITHIN).level is Level.NOTICE


def test_the_longest_has_room() -> None:
    longest = Order(Level.TRACE, ip_network("2001:db8:1111:2222:3333:4444:5555:6666"), 2**63)
    assert len(longest.written()) < ROOM
    assert Order.read(longest.written()) == longest
    assert json.loads(longest.written())[0] == 4
