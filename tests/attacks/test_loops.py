"""A tunnel into the server itself: where loopback or own addresses are open it looks like a local client."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.island import HOME_V4, HOME_V6, Island
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import Server, endpoint, running

NESTED = 50
MOST = 3
RING = f"""
[server]
workers = 2
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[log]
level = "info"
[limit.all]
per = "all"
connections = {MOST}
"""


def nested(client: Client, targets: list[tuple[str, int]]) -> list[int]:
    """Ask through each tunnel for the next, until one is refused; the reply codes."""
    codes = []
    for number in range(NESTED):
        assert client.greet() == 0
        codes.append(client.request(*targets[number % len(targets)]).code)
        if codes[-1]:
            assert client.until_end() == b""
            break
    return codes


def ends_at_one(server: Server, client: Client, targets: list[tuple[str, int]]) -> None:
    """The first tunnel is anybody's; what comes out of it is a loop."""
    with client:
        assert nested(client, targets) == [0, 1]
    end = server.wait_for("end", cause="self-connect", reply=1)
    assert end["hint"] == "comes out of a tunnel of this server"


@pytest.mark.parametrize("workers", ["1", "3"])
def test_fifty_nested_tunnels_end_at_one(server: Start, echo: Origin, workers: str) -> None:
    started = server("--workers", workers)
    for _ in range(6):
        ends_at_one(started, Client(started.endpoint), [started.endpoint])
    assert all(processes.threads(worker) <= 12 for worker in started.workers)
    with Client(started.endpoint) as client:  # and nobody else is taken for a loop
        client.open(echo.host, echo.port)
        assert client.exchange(b"hello") == b"hello"


def test_from_listener_to_listener_and_back(server: Start, tmp_path: Path) -> None:
    path = tmp_path / "socks"
    started = server(listen=("127.0.0.1:0", "[::1]:0", f"unix:{path}"))
    ring = [endpoint(address) for address in started.addresses[:2]]
    ends_at_one(started, Client(ring[0]), [ring[1], ring[0]])
    ends_at_one(started, Client(str(path)), ring)


@pytest.mark.parametrize("own", [HOME_V4, HOME_V6, "7.7.7.7", "island"])
def test_by_an_address_of_its_own(island: Island, own: str) -> None:
    island.home.ip("route replace local 7.7.7.0/24 dev lo")
    flags = ("--allow-to", "@self", "--allow-from", f"{HOME_V4},{HOME_V6},@loopback,7.7.7.7")
    with running(*flags, listen=(":0",), inside=island.home.enter) as server:
        client = Client(island.home.connect("127.0.0.1", server.port))
        port = {endpoint(address)[0]: endpoint(address)[1] for address in server.addresses}
        ends_at_one(server, client, [(own, port["::" if ":" in own else "0.0.0.0"])])


def test_another_server_on_the_same_port_is_no_loop(server: Start, echo: Origin) -> None:
    first = server()
    with running(listen=(f"127.0.0.2:{first.port}",)) as second, Client(first.endpoint) as client:
        client.open(*second.endpoint)
        client.open(echo.host, echo.port)
        assert client.exchange(b"hello") == b"hello"


def test_a_ring_of_two_ends_at_the_limit_and_with_its_client(server: Start) -> None:
    """Each sees only a client that comes from the other: a limit is what ends it, and the client's end."""
    first, second = server(config=RING), server(config=RING)
    with Client(first.endpoint) as client:
        codes = nested(client, [second.endpoint, first.endpoint])
        assert codes == [0] * (2 * MOST) + [2]
    assert eventually(lambda: len(first.events("end")) == MOST + 1 and len(second.events("end")) == MOST)
    assert len(first.events("end", cause="limited")) == 1
    with Client(first.endpoint) as client:  # and there is room again
        client.open(*second.endpoint)
