"""The log of a running server: rotated, sent to syslog, and never in the way."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from forksocks.host.sandbox.profile import DESCRIPTORS_A_THREAD, DESCRIPTORS_BESIDE
from forksocks.verbs.asking import ask
from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually
from tests.system.server import Server, command


def serve_one(server: Server, echo: Origin) -> None:
    with Client(server.endpoint) as client:
        client.open(echo.host, echo.port)
        assert client.exchange(b"x") == b"x"


def rotating(path: Path) -> str:
    user = 'user = "root"' if os.geteuid() == 0 else ""
    return f"""
[server]
workers = 2
drain = "5s"
{user}
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[log]
to = "file:{path}"
level = "info"
"""


def test_sigusr1_opens_the_log_anew_in_every_process(server: Start, echo: Origin, tmp_path: Path) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    running = server(config=rotating(path), follow=path)
    serve_one(running, echo)
    running.wait_for("end")
    path.rename(old)
    running.send_signal(signal.SIGUSR1)
    assert eventually(lambda: path.exists() and "log-reopened" in path.read_text())

    def both_workers_write_there() -> bool:
        serve_one(running, echo)
        return {"1", "2"} <= set(re.findall(r" end id=w(\d)", path.read_text()))

    assert eventually(both_workers_write_there)
    before = old.read_text()
    serve_one(running, echo)
    running.stop()
    assert " stopped" in path.read_text()
    assert old.read_text() == before


@contextlib.contextmanager
def with_syslog(folder: Path) -> Iterator[tuple[Server, socket.socket]]:
    """A server in a mount namespace where /var/run/log, or /dev/log where there is one, is our socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.settimeout(LONG)
        daemon.bind(str(folder / "log"))
        script = f"""
if [ -S /dev/log ]; then mount --bind {folder}/log /dev/log; fi
mount --bind {folder} "$(readlink -f /var/run)" && exec "$@"
"""
        config = folder / "forksocks.toml"
        config.write_text(rotating(folder / "x").replace(f"file:{folder / 'x'}", "syslog"))
        space = ["unshare", "-m" if os.geteuid() == 0 else "-rm", "--", "sh", "-c", script, "sh"]
        server = Server([*space, *command((), (), config)])
        try:
            yield server, daemon
        except BaseException:
            print("\n".join(["the server's log:", *server.log]))
            raise
        finally:
            server.kill()


GROWING = """
[server]
workers = 6
sandbox = "auto"
threads = 2
[[listen]]
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[log]
to = "file:{folder}/log"
level = "info"
[admin]
socket = "{folder}/admin.sock"
"""
# Descriptors beyond which none of its processes can have another (RLIMIT_NOFILE).
BEYOND = 2 * DESCRIPTORS_A_THREAD + DESCRIPTORS_BESIDE


def test_the_log_of_who_was_born_with_more_descriptors_than_it_may_have_is_opened_anew(
    server: Start, echo: Origin, tmp_path: Path
) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    running = server(config=GROWING.format(folder=tmp_path), follow=path)
    with contextlib.ExitStack() as stack:
        tunnels: list[Client] = []

        def open_tunnel() -> None:
            tunnels.append(stack.enter_context(Client(running.endpoint)))  # keeps its generation alive
            tunnels[-1].open(echo.host, echo.port)

        is_large = False
        while not is_large:
            is_large = processes.descriptors(running.supervisor) > BEYOND  # so will be what is born now
            open_tunnel()
            running.send_signal(signal.SIGHUP)
            assert eventually(lambda: len(running.events("reloaded")) == len(tunnels))
        open_tunnel()
        path.rename(old)
        running.send_signal(signal.SIGUSR1)
        assert eventually(lambda: path.exists() and "log-reopened" in path.read_text())
        for tunnel in tunnels:
            assert tunnel.exchange(b"alive") == b"alive"
        assert next(ask(tmp_path / "admin.sock", "status"))["state"] == "running"
    assert eventually(lambda: path.read_text().count(" end id=") == len(tunnels)), "every worker writes there"
    text = old.read_text() + path.read_text()
    assert " crash" not in text
    assert " child-died" not in text


def test_syslog_gets_a_datagram_a_line(tmp_path: Path, echo: Origin) -> None:
    with with_syslog(tmp_path) as (server, daemon):
        lines: list[str] = []

        def wait_for(event: str) -> str:
            while not lines or f": {event} " not in lines[-1] + " ":
                lines.append(daemon.recv(4096).decode())
            return lines[-1]

        started = wait_for("started")
        assert re.match(
            r"<29>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d forksocks\[\d+\]: started version=", started
        )
        assert f"[{server.supervisor}]" in started
        server.addresses = (re.findall(r"listen=(\S+)", started)[0],)
        serve_one(server, echo)
        end = wait_for("end")
        assert re.match(r"<30>.* forksocks\[(\d+)\]: end id=w", end)
        server.send_signal(signal.SIGTERM)
        wait_for("stopped")
        assert server.process.wait(LONG) == 0
