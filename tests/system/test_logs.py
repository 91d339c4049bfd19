"""The log of a running server: rotated, sent to syslog, and never in the way."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forksocks.host.sandbox.profile import DESCRIPTORS_A_THREAD, DESCRIPTORS_BESIDE
from forksocks.verbs.asking import ask
from tests.machine import free_port
from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.load import exchange
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually
from tests.system.server import Server, command


def rotating(path: Path) -> str:
    return f"""
[server]
workers = 2
drain = "5s"
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
    exchange(running.endpoint, echo)
    running.wait_for("end")
    path.rename(old)
    running.send_signal(signal.SIGUSR1)
    assert eventually(lambda: path.exists() and "log-reopened" in path.read_text())

    def both_workers_write_there() -> bool:
        exchange(running.endpoint, echo)
        return {"1", "2"} <= set(re.findall(r" end id=w(\d)", path.read_text()))

    assert eventually(both_workers_write_there)
    before = old.read_text()
    exchange(running.endpoint, echo)
    running.stop()
    assert " stopped" in path.read_text()
    assert old.read_text() == before


@contextlib.contextmanager
def on_a_small_disk(folder: Path) -> Iterator[tuple[Server, Path]]:
    """A server whose log is on a disk of 64 KiB, and that disk as it is seen from here."""
    disk = folder / "disk"
    disk.mkdir()
    config = folder / "forksocks.toml"
    config.write_text(rotating(disk / "log"))
    script = f'mount -t tmpfs -o size=64k none {disk} && exec "$@"'
    space = ["unshare", "-m" if os.geteuid() == 0 else "-rm", "--", "sh", "-c", script, "sh"]
    with Server([*space, *command(config=config)]) as server:
        seen = Path(f"/proc/{server.supervisor}/root{disk}")

        def started() -> re.Match[str] | None:
            log = seen / "log"
            return re.search(r" started .*listen=(\S+)", log.read_text()) if log.exists() else None

        found = eventually(started)
        assert found
        server.addresses = (found[1],)
        yield server, seen


def fill(disk: Path) -> Path:
    """Leave no byte on a disk, nor in the last page of the log."""
    filler = disk / "filler"
    for path, piece in ((filler, bytes(4096)), (disk / "log", b"\n")):
        with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(piece)
    return filler


def test_on_a_full_disk_everything_goes_on_and_lines_are_written_when_there_is_room(
    tmp_path: Path, echo: Origin
) -> None:
    with on_a_small_disk(tmp_path) as (server, disk):
        with Client(server.endpoint) as tunnel:
            tunnel.open(echo.host, echo.port)
            filler = fill(disk)
            for _ in range(100):
                exchange(server.endpoint, echo)
            server.send_signal(signal.SIGUSR1)
            before = sum(map(processes.cpu, server.pids))
            time.sleep(1.0)  # nobody tries again and again
            assert sum(map(processes.cpu, server.pids)) - before < 0.5
            assert tunnel.exchange(b"still here") == b"still here"
            filler.unlink()
            log = disk / "log"
            assert eventually(lambda: len(set(re.findall(r" end id=(\S+)", log.read_text()))) >= 100)
            assert tunnel.exchange(b"still here") == b"still here"
        server.send_signal(signal.SIGUSR1)
        assert eventually(lambda: " log-dropped by=supervisor lines=1\n" in log.read_text())
        server.send_signal(signal.SIGHUP)
        assert eventually(lambda: server.generations == {2})
        server.send_signal(signal.SIGTERM)
        assert server.process.wait(LONG) == 0


def test_lines_are_counted_of_workers_that_ended_on_a_full_disk(tmp_path: Path, echo: Origin) -> None:
    with on_a_small_disk(tmp_path) as (server, disk):
        filler = fill(disk)
        for _ in range(100):
            exchange(server.endpoint, echo)
        server.send_signal(signal.SIGHUP)
        assert eventually(lambda: server.generations == {2})
        filler.unlink()
        server.send_signal(signal.SIGUSR1)
        lost = r" log-dropped by=supervisor lines=(\d+)"
        assert eventually(lambda: sum(map(int, re.findall(lost, (disk / "log").read_text()))) >= 100)


@pytest.mark.parametrize("to", ["file:/dev/full", "stderr"])
def test_whoever_cannot_log_at_all_serves(to: str, tmp_path: Path, echo: Origin) -> None:
    """A disk that is full from the start, and a reader who has stopped to read."""
    port = free_port()
    config = tmp_path / "forksocks.toml"
    text = rotating(tmp_path / "x").replace(f"file:{tmp_path / 'x'}", to).replace('"info"', '"debug"')
    config.write_text(text.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
    words = command(config=config)
    with subprocess.Popen(words, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert eventually(lambda: len(processes.workers(process.pid)) == 2)
            assert eventually(lambda: accepts(port))
            for _ in range(200):  # a pipe holds 64 KiB, which is the half of these
                exchange(("127.0.0.1", port), echo)
            process.send_signal(signal.SIGHUP)
            assert eventually(lambda: {each for each, _ in processes.workers(process.pid)} == {2})
            pids = [process.pid, *processes.children(process.pid)]
            before = {pid: processes.cpu(pid) for pid in pids if processes.is_alive(pid)}
            time.sleep(1.0)  # nobody tries again and again
            after = {pid: processes.cpu(pid) for pid in before if processes.is_alive(pid)}  # some were to end
            assert sum(after[pid] - before[pid] for pid in after) < 0.5
            process.terminate()
            assert process.wait(LONG) == 0
        finally:
            process.kill()


def accepts(port: int) -> bool:
    with socket.socket() as sock:
        return not sock.connect_ex(("127.0.0.1", port))


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
        with Server([*space, *command(config=config)]) as server:
            yield server, daemon


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
        exchange(server.endpoint, echo)
        end = wait_for("end")
        assert re.match(r"<30>.* forksocks\[(\d+)\]: end id=w", end)
        server.send_signal(signal.SIGTERM)
        wait_for("stopped")
        assert server.process.wait(LONG) == 0
