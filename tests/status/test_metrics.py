"""Metrics made of a scoreboard that a test writes; tests/system/test_metrics.py scrapes a server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from forksocks.host.scoreboard.books import Books, Totals
from forksocks.host.scoreboard.layout import CONNECT_TIME, COUNTERS
from forksocks.status import metrics
from forksocks.status.metrics import MOST_LISTENERS, Metrics
from forksocks.status.watch import Watch

DASHBOARD = Path(__file__).parents[2] / "packaging" / "grafana" / "forksocks.json"
SERVING = {"role": "worker", "key": 1, "ready": True, "ending": False}


def of(facts: dict[str, Any], totals: Totals | None = None, on_loopback: bool = True) -> Metrics:
    books = Books()
    books.totals = totals or Totals()
    books.publish(facts)
    return Metrics(Watch(books.page, {}, books.refused), on_loopback)


def scrape(made: Metrics) -> str:
    status, kind, body = made.answer("GET", "/metrics", {"HTTP_HOST": "127.0.0.1:9180"})
    assert (status, kind) == ("200 OK", "text/plain; version=0.0.4; charset=utf-8")
    return body.decode()


def test_more_listeners_than_a_scrape_should_have_are_one() -> None:
    totals = Totals({f"l{number}": [1] * len(COUNTERS) for number in range(MOST_LISTENERS + 3)})
    served = [{"name": f"l{MOST_LISTENERS + 2}", "address": "127.0.0.1:1"}]
    text = scrape(of({"listeners": served}, totals))
    accepted = [line for line in text.splitlines() if line.startswith("forksocks_accepted_total{")]
    assert len(accepted) == MOST_LISTENERS + 1
    assert f'forksocks_accepted_total{{listener="l{MOST_LISTENERS + 2}"}} 1.0' in accepted
    assert 'forksocks_accepted_total{listener="other"} 3.0' in accepted


def test_a_reload_that_failed_and_processes_that_died() -> None:
    totals = Totals(deaths={"killed by SIGKILL": 2, "killed by SIGSEGV": 1, "exit status 1": 4})
    text = scrape(of({"outcomes": {"reload": {"error": "no such thing"}}}, totals))
    assert "\nforksocks_config_last_reload_successful 0.0\n" in text
    assert '\nforksocks_process_deaths_total{how="killed"} 3.0\n' in text
    assert '\nforksocks_process_deaths_total{how="exited"} 4.0\n' in text


@pytest.mark.parametrize(
    ("facts", "status", "said"),
    [
        ({"state": "running", "processes": [SERVING]}, "200 OK", b"ready\n"),
        (
            {"state": "running", "processes": [SERVING | {"ending": True}]},
            "503 Service Unavailable",
            b"draining\n",
        ),
        (
            {"state": "running", "processes": [SERVING | {"ready": False}]},
            "503 Service Unavailable",
            b"draining\n",
        ),
        ({"state": "stopping", "processes": [SERVING]}, "503 Service Unavailable", b"stopping\n"),
    ],
)
def test_readiness(facts: dict[str, Any], status: str, said: bytes) -> None:
    assert of(facts).answer("GET", "/readyz", {})[::2] == (status, said)


def test_books_that_are_never_settled() -> None:
    books = Books()
    books.publish({})
    made = Metrics(Watch(books.page, {}, books.refused), True)
    books.page.begin()
    for path in ("/metrics", "/readyz"):
        assert made.answer("GET", path, {})[0] == "503 Service Unavailable"
    assert made.answer("GET", "/livez", {})[0] == "200 OK"


@pytest.mark.parametrize(
    ("host", "origin", "on_loopback", "allowed"),
    [
        ("127.0.0.1:9180", None, True, True),
        ("[::1]:9180", None, True, True),
        ("[::1]", None, True, True),
        ("localhost", None, True, True),
        ("LOCALHOST:9180", None, True, True),
        ("", None, True, True),
        ("rebound.example:9180", None, True, False),
        ("rebound.example", None, True, False),
        ("proxy.example:9180", None, False, True),
        ("127.0.0.1:9180", "http://127.0.0.1:9180", True, True),
        ("127.0.0.1:9180", "http://elsewhere.example", False, False),
        ("127.0.0.1:9180", "null", True, False),
    ],
)
def test_who_may_ask(host: str, origin: str | None, on_loopback: bool, allowed: bool) -> None:
    headers = {"HTTP_HOST": host} | ({} if origin is None else {"HTTP_ORIGIN": origin})
    assert metrics.is_for_us(headers, on_loopback) == allowed


def test_times_are_histograms_over_all_listeners() -> None:
    counters = [0] * len(COUNTERS)
    counters[CONNECT_TIME : CONNECT_TIME + 3] = [1_500_000_000, 2, 1]  # 2 up to 1 ms, 1 up to 5 ms
    counters[CONNECT_TIME + 11] = 4  # longer than all bounds
    text = scrape(of({}, Totals({"lan": counters, "wan": counters})))
    lines = [line for line in text.splitlines() if line.startswith("forksocks_connect_duration_seconds")]
    assert lines[:2] == [
        'forksocks_connect_duration_seconds_bucket{le="0.001"} 4.0',
        'forksocks_connect_duration_seconds_bucket{le="0.005"} 6.0',
    ]
    assert lines[-4:] == [
        'forksocks_connect_duration_seconds_bucket{le="30.0"} 6.0',
        'forksocks_connect_duration_seconds_bucket{le="+Inf"} 14.0',
        "forksocks_connect_duration_seconds_count 14.0",
        "forksocks_connect_duration_seconds_sum 3.0",
    ]
    empty = scrape(of({}))
    for name in ("handshake", "resolve", "connect"):
        assert f'forksocks_{name}_duration_seconds_bucket{{le="+Inf"}} 0.0' in empty


def texts(found: Any) -> Iterator[str]:
    """All texts in JSON."""
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict | list):
        for each in found.values() if isinstance(found, dict) else found:
            yield from texts(each)


def test_the_dashboard_shows_series_that_there_are() -> None:
    totals = Totals({"lan": [1] * len(COUNTERS)})
    names = set(re.findall(r"^(forksocks_\w+)", scrape(of({}, totals)), re.MULTILINE))
    dashboard = json.loads(DASHBOARD.read_text())
    shown = {name for text in texts(dashboard) for name in re.findall(r"\bforksocks_\w+", text)}
    assert len(shown) > 12
    assert shown <= names, f"no such series: {shown - names}"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource", "job", "instance"}
