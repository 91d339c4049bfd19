"""What a rule says beside yes or no: where from, how long it may be silent, what is logged."""

from __future__ import annotations

import pytest

from tests.system import origins
from tests.system.client import BIND, Client
from tests.system.conftest import Start
from tests.system.datagrams import Association, Datagram, port_of, remote
from tests.system.server import Server

CONFIG = """
[server]
workers = 1
sandbox = "{sandbox}"
[[listen]]
bind = ["127.0.0.1:0"]
commands = ["connect", "udp", "bind"]
[access]
allow_to = ["@loopback"]
[egress]
addresses = ["127.0.0.5"]
[log]
level = "info"
[[rule]]
name = "loud"
to = ["127.0.0.2"]
action = "allow"
egress = ["127.0.0.7"]
log = "debug"
[[rule]]
name = "hush"
to = ["127.0.0.3"]
action = "deny"
log = "error"
[[rule]]
name = "short"
to = ["127.0.0.4"]
action = "allow"
idle = "500ms"
[[rule]]
name = "rest"
action = "allow"
"""


@pytest.fixture(params=["off", "auto"])
def started(server: Start, request: pytest.FixtureRequest) -> Server:
    return server(config=CONFIG.format(sandbox=request.param))


@pytest.mark.parametrize(("host", "source"), [("127.0.0.2", "127.0.0.7"), ("127.0.0.1", "127.0.0.5")])
def test_connections_come_from_where_their_rule_says(started: Server, host: str, source: str) -> None:
    with origins.serving(origins.echo, host) as origin, Client(started.endpoint) as client:
        assert client.open(host, origin.port).host == source
        assert client.exchange(b"hello") == b"hello"
        assert [peer for peer, _ in origin.peers] == [source]


def test_datagrams_of_one_association_come_from_where_each_rule_says(started: Server) -> None:
    with remote("127.0.0.2") as two, remote("127.0.0.1") as one, Association(started.endpoint) as association:
        for there, host, source in ((two, "127.0.0.2", "127.0.0.7"), (one, "127.0.0.1", "127.0.0.5")) * 2:
            association.send(b"ping", host, port_of(there))
            data, came_from = there.recvfrom(100)
            assert (data, came_from[0]) == (b"ping", source)
            there.sendto(b"pong", came_from)
            assert association.receive() == Datagram(host, port_of(there), b"pong")


@pytest.mark.parametrize(("host", "source"), [("127.0.0.2", "127.0.0.7"), ("127.0.0.1", "127.0.0.5")])
def test_bind_waits_where_its_rule_says(started: Server, host: str, source: str) -> None:
    with Client(started.endpoint) as client:
        client.greet()
        first = client.request(host, 0, BIND)
        assert (first.code, first.host) == (0, source)


def test_silence_ends_a_tunnel_when_its_rule_says(started: Server) -> None:
    with origins.serving(origins.echo, "127.0.0.4") as origin, Client(started.endpoint) as client:
        client.open("127.0.0.4", origin.port)
        started.wait_for("end", rule="short", cause="idle")


def test_silence_ends_an_association_when_the_most_patient_of_its_rules_says(started: Server) -> None:
    with remote("127.0.0.4") as short, remote("127.0.0.1") as rest, Association(started.endpoint) as kept:
        kept.send(b"one", "127.0.0.1", port_of(rest))
        assert rest.recvfrom(100)[0] == b"one"
        kept.send(b"two", "127.0.0.4", port_of(short))
        assert short.recvfrom(100)[0] == b"two"
        with Association(started.endpoint) as association:
            association.send(b"ping", "127.0.0.4", port_of(short))
            started.wait_for("end", cmd="udp", cause="idle")
            assert association.control.until_end() == b""
        assert len(started.events("end", cmd="udp")) == 1
        kept.send(b"three", "127.0.0.4", port_of(short))
        assert [short.recvfrom(100)[0] for _ in range(2)] == [b"ping", b"three"]


def test_more_or_less_is_logged_as_the_rule_says(started: Server) -> None:
    with origins.serving(origins.echo, "127.0.0.2") as origin:
        with Client(started.endpoint) as client:
            client.greet()
            assert client.request("127.0.0.3", origin.port).code == 2
        with Client(started.endpoint) as client:
            client.open("127.0.0.2", origin.port)
        started.wait_for("end", rule="loud")
        started.wait_for("connected", rule="loud")
        with Client(started.endpoint) as client:
            client.open("127.0.0.2", origin.port)
        assert not [event for event in started.events("end") if event.get("rule") == "hush"]
        assert not [event for event in started.events("connected") if event.get("rule") != "loud"]
