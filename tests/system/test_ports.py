"""A machine with hardly a port left to dial from (ip(7), ip_local_port_range)."""

from __future__ import annotations

import contextlib

from tests.system import origins, processes
from tests.system.client import Client
from tests.system.island import HOME_V4, Island
from tests.system.processes import eventually
from tests.system.server import Server, running

VISITOR, TARGET = "9.9.9.8", "9.9.9.9"
PORTS = 4


def come(island: Island, server: Server) -> Client:
    """A client from another machine: it takes no port of the server's."""
    return Client(island.internet.connect(*server.endpoint, source=VISITOR))


def test_who_gets_no_port_is_told_and_the_next_is_served_when_there_is_one(island: Island) -> None:
    with contextlib.ExitStack() as stack:
        listener = island.internet.listen(TARGET)
        echo = stack.enter_context(origins.serving(origins.echo, listener=listener))
        flags = ("--workers", "1", "--open-proxy", "-v")
        server = stack.enter_context(running(*flags, listen=(f"{HOME_V4}:0",), inside=island.home.enter))
        before = island.home.run("cat", "/proc/sys/net/ipv4/ip_local_port_range")
        stack.callback(island.home.set, "ipv4/ip_local_port_range", before)
        island.home.set("ipv4/ip_local_port_range", f"50000 {50000 + PORTS - 1}")
        tunnels = [stack.enter_context(come(island, server)) for _ in range(PORTS)]
        for tunnel in tunnels:
            tunnel.open(TARGET, echo.port)
        held = processes.descriptors(server.workers[0])
        for _ in range(3):
            with come(island, server) as client:
                client.greet()
                assert client.request(TARGET, echo.port).code == 1
        ends = server.wait_for("end", cause="no-resources")
        assert ends["hint"] == f"{TARGET}: Cannot assign requested address"
        assert eventually(lambda: processes.descriptors(server.workers[0]) == held)
        assert all(tunnel.exchange(b"x") == b"x" for tunnel in tunnels)
        tunnels.pop().reset()  # a port whose connection was closed would rest for a minute
        server.wait_for("end", cause="client-reset")
        again = stack.enter_context(come(island, server))
        again.open(TARGET, echo.port)
        assert again.exchange(b"served") == b"served"
