"""A confined server does all that it has to, says what holds, and starts with no less than was required."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually, is_alive
from tests.system.programs import ctl, make_user, objects, run
from tests.system.server import DEFAULTS, ROOT, Server, environment, started

IS_ROOT = os.geteuid() == 0
# All that an ordinary user can have; the empty file system is root's to give.
# All layers, where all are to be had.
ALL = "auto" if "FORKSOCKS_ELSEWHERE" in os.environ else "require"
MOST = ("--sandbox", ALL, "--user", "nobody") if IS_ROOT else ("--sandbox", "auto")
BULK = 8 << 20

# Starts the server after a change to what it finds in the system; the words behind it are its arguments.
CHANGED = "import sys\n{change}\nfrom forksocks import cli\nsys.exit(cli.main(sys.argv[1:]))\n"
NOT_LINUX = "from forksocks.host import linux\nlinux.IS_LINUX = False"
NO_LIBRARY = "from forksocks.host.sandbox import seccomp\nseccomp.MODULES = ()"


def changed(change: str, *flags: str) -> list[str]:
    small = [word for pair in DEFAULTS.items() for word in pair]
    return [sys.executable, "-c", CHANGED.format(change=change), "127.0.0.1:0", "-v", *small, *flags]


def exchange(server: Server, host: str, port: int, user: bytes | None = None) -> None:
    with Client(server.endpoint) as client:
        client.open(host, port, user, b"secret")
        assert client.exchange(b"hello") == b"hello"


def test_it_serves_names_users_and_bulk(server: Start, echo: Origin, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "alice", "secret")
    started = server(*MOST, "-vvv", "--users", str(tmp_path / "users"))
    exchange(started, "localhost", echo.port, b"alice")
    with Client(started.endpoint) as client:
        client.open(echo.host, echo.port, b"alice", b"secret")
        sent = 0
        while sent < BULK:
            assert client.exchange(bytes(1 << 20)) == bytes(1 << 20)
            sent += 1 << 20
    assert started.wait_for("end", up=BULK)["down"] == str(BULK)
    assert started.events("system", what="splice")
    assert "missing" not in started.wait_for("sandbox") or not IS_ROOT


def test_a_log_file_is_rotated(server: Start, echo: Origin, tmp_path: Path) -> None:
    # `nobody` need not be able to open it: the supervisor does.
    config = (
        '[server]\nworkers = 2\n[[listen]]\nbind = ["127.0.0.1:0"]\n[access]\nallow_to = ["@loopback"]\n'
        '[log]\nto = "file:log"\nlevel = "info"\n'
    )
    path = tmp_path / "log"
    started = server(*MOST, config=config, follow=path)
    for number in range(3):
        old = tmp_path / f"log.{number}"
        path.rename(old)
        started.send_signal(signal.SIGUSR1)
        assert eventually(lambda: path.exists() and "log-reopened" in path.read_text())
        # A worker takes the new file a moment later, and says nothing about it.
        ends = path.read_text().count(" end ")
        assert eventually(lambda ends=ends: said(started, echo, path) > ends)  # type: ignore[misc]


def said(server: Server, echo: Origin, path: Path) -> int:
    exchange(server, echo.host, echo.port)
    return path.read_text().count(" end ")


def test_whoever_is_killed_is_replaced(server: Start, echo: Origin) -> None:
    started = server(*MOST)
    workers, agent = started.workers, started.lookup
    assert agent
    for pid in (*workers, agent):
        os.kill(pid, signal.SIGKILL)
    started.wait_for_workers(2, without=workers)
    assert eventually(lambda: started.lookup not in (agent, None))
    for _ in range(4):
        exchange(started, "localhost", echo.port)
    assert not started.events("sandbox-alarm")


def test_without_a_supervisor_tunnels_go_on_and_then_all_end(echo: Origin) -> None:
    small = [word for pair in DEFAULTS.items() for word in pair]
    words = [sys.executable, "-m", "forksocks", "127.0.0.1:0", "-v", *small, *MOST]
    with started(words) as running:
        rows = [*running.workers, running.lookup]
        with Client(running.endpoint) as client:
            client.open(echo.host, echo.port)
            running.send_signal(signal.SIGKILL)
            assert client.exchange(b"hello") == b"hello"
        assert eventually(lambda: not any(pid and is_alive(pid) for pid in rows))


def test_a_restarted_log_daemon_is_found_again(echo: Origin, tmp_path: Path) -> None:
    path = tmp_path / "log"
    (tmp_path / "f.toml").write_text('[log]\nto = "syslog"\n')
    change = f"from forksocks.host.log import sinks\nsinks.SYSLOG_SOCKETS = ({str(path)!r},)"
    command = changed(change, *MOST, "-c", str(tmp_path / "f.toml"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(path))
        daemon.settimeout(LONG)
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), start_new_session=True)
        try:
            while b" started " not in (line := daemon.recv(4096)):
                pass
            address = line.partition(b"listen=")[2].split()[0].decode()
            endpoint = address.rpartition(":")[0], int(address.rpartition(":")[2])
            daemon.close()
            path.unlink()
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as again:
                again.bind(str(path))
                again.settimeout(0.2)

                def worker_speaks() -> bool:
                    with Client(endpoint) as client:
                        client.open(echo.host, echo.port)
                    with contextlib.suppress(TimeoutError):
                        while True:
                            if b" end id=w" in again.recv(4096):
                                return True
                    return False

                assert eventually(worker_speaks)
        finally:
            process.terminate()
            process.wait(LONG)


def start_refused(command: list[str]) -> str:
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, timeout=LONG, check=False
    )
    assert done.returncode == 1, done.stderr.decode()
    errors = done.stderr.decode()
    assert "Traceback" not in errors
    return [line for line in errors.splitlines() if line.startswith("forksocks: ")][-1]


def test_with_less_than_was_required_it_does_not_start() -> None:
    word = "ids (is root)" if IS_ROOT else "chroot (not permitted)"
    told = start_refused(changed("", "--sandbox", "require", *(("--user", "root") if IS_ROOT else ())))
    assert "the sandbox of" in told
    assert word in told
    assert "seccomp (pip install '.[sandbox]', or pyseccomp)" in start_refused(
        changed(NO_LIBRARY, "--sandbox", "require")
    )


def test_what_is_missing_is_said_and_the_rest_holds(echo: Origin) -> None:
    with started(changed(NO_LIBRARY, *MOST[2:], "--sandbox", "auto")) as running:
        line = running.wait_for("sandbox")
        assert "seccomp (pip install '.[sandbox]', or pyseccomp)" in line["missing"]
        assert "Landlock (ABI" in line["holds"]
        exchange(running, "localhost", echo.port)
        assert {processes.status(pid)["Seccomp"] for pid in running.workers} == {"0"}
        running.stop()


@pytest.mark.parametrize("change", ["", NO_LIBRARY], ids=["all", "some"])
def test_status_says_which_layers_hold_and_which_do_not(tmp_path: Path, change: str) -> None:
    """As the log does; `forksocks --version` says it of the machine, and the manual of both."""
    config = tmp_path / "forksocks.toml"
    config.write_text(f'[admin]\nsocket = "{tmp_path}/admin.sock"\n')
    with started(changed(change, *MOST[2:], "--sandbox", "auto", "-c", str(config))) as running:
        line = running.wait_for("sandbox")
        (found,) = objects(tmp_path, "status")
        told = found["sandbox"]
        assert told == {"mode": "auto", "holds": line["holds"], "missing": line.get("missing", "")}
        assert ("seccomp (pip install" in told["missing"]) == bool(change)
        text = ctl(tmp_path, "status").out.decode()
        assert f"sandbox    auto: {told['holds']}" in text
        assert (f"; without {told['missing']}\n" in text) == bool(told["missing"])
        version = run(*changed(change, "--version"), cwd=ROOT).out.decode()
        layers = version.partition("sandbox layers: ")[2].splitlines()[0]
        assert ("seccomp (pip install" in layers) == bool(change)
        assert "Landlock" in layers
        running.stop()


def test_where_linux_is_not(echo: Origin) -> None:
    """As on FreeBSD and macOS: limits, an empty root and another account are all that is ours there."""
    with started(changed(NOT_LINUX, *MOST[2:], "--sandbox", "auto")) as running:
        line = running.wait_for("sandbox")
        held = ["limits", *(["chroot", "ids (nobody)"] if IS_ROOT else ["ids"])]
        assert line["holds"].split(", ") == held
        for name in ("no_new_privs", "Landlock", "seccomp"):
            assert f"{name} (this system has none)" in line["missing"]
        exchange(running, "localhost", echo.port)
        running.stop()


def test_off_is_said_too(server: Start, echo: Origin) -> None:
    started = server("--sandbox", "off")
    line = started.wait_for("sandbox", mode="off")
    assert "holds" not in line
    exchange(started, "localhost", echo.port)
