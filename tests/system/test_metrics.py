"""/metrics, /livez and /readyz of a real server, checked by promtool and scraped by Prometheus."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from forksocks.host.causes import Cause
from forksocks.host.web import MOST_CONNECTIONS
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually
from tests.system.programs import ctl, run
from tests.system.server import ROOT, Server

CONFIG = """
[server]
workers = 2
threads = 50
sandbox = "auto"
[[listen]]
name = "lan"
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[admin]
socket = "{folder}/admin.sock"
http = "127.0.0.1:{port}"
"""
ALERTS = ROOT / "packaging" / "prometheus"


@pytest.fixture
def port() -> int:
    """One that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONG)
    connection.request(
        method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def scrape(port: int) -> dict[str, float]:
    status, text = ask(port, "/metrics")
    assert status == 200, text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def started(server: Start, folder: Path, port: int) -> Server:
    return server(config=CONFIG.format(folder=folder, port=port))


def exchange(served: Server, echo: Origin) -> None:
    with Client(served.endpoint) as client:
        client.open(echo.host, echo.port)
        client.exchange(b"hello")


def test_who_says_a_request_for_ever_keeps_nobody_out(server: Start, tmp_path: Path, port: int) -> None:
    started(server, tmp_path, port)
    slow = [socket.create_connection(("127.0.0.1", port), LONG) for _ in range(MOST_CONNECTIONS)]
    try:
        for sock in slow:
            sock.sendall(b"GET /livez HTTP/1.1\r\nX: ")

        def trickle() -> bool:
            for sock in list(slow):
                try:
                    sock.send(b"x")
                except OSError:  # the server has lost patience
                    slow.remove(sock)
                    sock.close()
            return not slow

        assert eventually(trickle)
        assert ask(port, "/livez")[0] == 200
    finally:
        for sock in slow:
            sock.close()


def test_every_series_is_there_at_0_and_promtool_finds_nothing(
    server: Start, tmp_path: Path, port: int
) -> None:
    started(server, tmp_path, port)
    found = scrape(port)
    for cause in Cause:
        assert found[f'forksocks_session_ends_total{{cause="{cause.value}",listener="lan"}}'] == 0
    assert found['forksocks_accepted_total{listener="lan"}'] == 0
    assert eventually(lambda: scrape(port)['forksocks_workers{state="serving"}'] == 2)
    found = scrape(port)
    assert found["forksocks_config_last_reload_successful"] == found["forksocks_ready"] == 1
    text = ask(port, "/metrics")[1]
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_counters_live_over_a_crash_a_reload_and_an_upgrade(
    server: Start, echo: Origin, tmp_path: Path, port: int
) -> None:
    served = started(server, tmp_path, port)
    accepted, up = (
        'forksocks_accepted_total{listener="lan"}',
        'forksocks_relay_bytes_total{direction="up",listener="lan"}',
    )

    def counts(times: int) -> None:
        exchange(served, echo)
        assert eventually(lambda: scrape(port)[up] == 5 * times)
        assert scrape(port)[accepted] == times

    counts(1)
    before = served.workers
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    served.wait_for_workers(2, without=before)
    counts(2)
    assert scrape(port)['forksocks_process_deaths_total{how="killed"}'] == 2
    ctl(tmp_path, "reload", "--wait")
    counts(3)
    assert scrape(port)["forksocks_config_generation"] == 2
    deaths, connects = (
        'forksocks_process_deaths_total{how="killed"}',
        "forksocks_connect_duration_seconds_count",
    )
    assert (scrape(port)[deaths], scrape(port)[connects]) == (2, 3)
    found = json.loads(ctl(tmp_path, "upgrade", "--json").out)
    try:
        assert served.wait_for("took-over")["pid"] == str(found["pid"])
        counts(4)
        assert (scrape(port)[deaths], scrape(port)[connects]) == (2, 4)
    finally:
        os.kill(found["pid"], signal.SIGTERM)
    assert eventually(lambda: not served.left())


def test_readyz_says_503_while_draining_and_livez_does_not(server: Start, tmp_path: Path, port: int) -> None:
    started(server, tmp_path, port)
    assert eventually(lambda: ask(port, "/readyz") == (200, "ready\n"))
    ctl(tmp_path, "drain")
    assert eventually(lambda: ask(port, "/readyz")[0] == 503)
    assert ask(port, "/livez") == (200, "alive\n")
    ctl(tmp_path, "resume")
    assert eventually(lambda: ask(port, "/readyz")[0] == 200)


def test_who_is_not_answered(server: Start, tmp_path: Path, port: int) -> None:
    started(server, tmp_path, port)
    assert ask(port, "/metrics", Host="rebound.example:80")[0] == 403
    assert ask(port, "/metrics", Origin="http://elsewhere.example")[0] == 403
    assert ask(port, "/metrics", "POST")[0] == 405
    assert ask(port, "/etc/passwd")[0] == 404
    assert ask(port, "/livez", Host=f"localhost:{port}")[0] == 200


def dashboard() -> list[str]:
    """What Grafana would ask for, of the one server that there is."""
    text = (ROOT / "packaging" / "grafana" / "forksocks.json").read_text()
    variables = {"$__rate_interval": "1m", "$job": "forksocks", "$instance": ".*"}
    found = []
    for panel in json.loads(text)["panels"]:
        for target in panel.get("targets", ()):
            expression = target["expr"]
            for name, value in variables.items():
                expression = expression.replace(name, value)
            found.append(expression)
    assert len(found) > 20
    return found


def test_prometheus_scrapes_it(server: Start, echo: Origin, tmp_path: Path, port: int) -> None:
    served = started(server, tmp_path, port)
    exchange(served, echo)
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        f"rule_files: ['{ALERTS}/forksocks.rules.yml']\n"
        f"scrape_configs: [{{job_name: forksocks, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
    )
    command = [
        "prometheus", f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
        "--web.listen-address=127.0.0.1:0", "--log.level=info",
    ]  # fmt: skip
    log = tmp_path / "prometheus.log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, cwd=tmp_path) as process:
        try:

            def where() -> str:
                seen = re.search(r'msg="Listening on" address=(\S+)', log.read_text())
                return seen[1] if seen else ""

            address = eventually(where)

            def values(expression: str) -> list[str]:
                url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
                try:
                    with urllib.request.urlopen(url, timeout=LONG) as answer:
                        result = json.load(answer)["data"]["result"]
                except urllib.error.HTTPError as error:
                    if error.code != 503:  # which it says until it has read its own files
                        raise
                    return []
                return [each["value"][1] for each in result]

            assert eventually(lambda: values("forksocks_accepted_total")) == ["1"]
            for expression in dashboard():
                if expression.endswith("> 0"):
                    values(expression)
                else:  # every panel has something to show
                    assert eventually(lambda: values(expression)), expression  # noqa: B023 - waited for here
        finally:
            process.terminate()


def test_the_alerts_say_what_they_should() -> None:
    run("promtool", "check", "rules", str(ALERTS / "forksocks.rules.yml"))
    run("promtool", "test", "rules", str(ALERTS / "forksocks.tests.yml"), cwd=ALERTS)
