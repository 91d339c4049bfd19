"""Somebody executes Python in a worker: all that he tries is denied, or ends that worker and raises an alarm.

The supervisor and the other workers go on serving. Started as root and by an ordinary user; what holds by
root's means alone is named here.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from forksocks.process.children import NAME_CHANNELS
from tests.attacks.attempts import ATTEMPTS, FATAL, POSSIBLE
from tests.system import origins, processes
from tests.system.client import PASSWORD, Client
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import make_user
from tests.system.server import Server, started

FLAGS = ("127.0.0.1:0", "-v", "--workers", "2", "--threads", "16", "--allow-to", "@loopback", "--drain", "5s")
DOOR = (sys.executable, "-m", "tests.attacks.door", *FLAGS)
NOBODY = pwd.getpwnam("nobody")
OWN_ACCOUNT = pwd.getpwnam("daemon")  # not "nobody", whose threads in other tests would count
# Root starts what an ordinary user would, with one right that systemd may give and the sandbox has to take.
ORDINARY = (
    "setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups",
    "--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search",
)  # fmt: skip
STARTS: dict[str, Sequence[str]] = {
    "ordinary": (*(ORDINARY if os.geteuid() == 0 else ()), *DOOR, "--sandbox", "auto"),
}
if os.geteuid() == 0:
    STARTS["root"] = (*DOOR, "--user", OWN_ACCOUNT.pw_name, "--sandbox", "require")


@pytest.fixture
def echo() -> Iterator[Origin]:
    with origins.serving(origins.echo) as origin:
        yield origin


@pytest.fixture(params=STARTS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    users = tmp_path / "users"
    make_user(users, "alice", "correct horse")
    config = tmp_path / "forksocks.toml"
    config.write_text('[limit.everyone]\nper = "all"\nconnections = 1000\n')
    words = [
        *STARTS[request.param],
        "--config",
        str(config),
        "--users",
        str(users),
        "--allow-from",
        "@loopback",
    ]
    with started(words) as running:
        yield running
        running.stop()


def attack(server: Server, name: str) -> str:
    """Try it in whichever worker accepts; return `succeeded`, `denied: ...` or `killed by SIGSYS`."""
    workers = server.wait_for_workers(2)
    asked = f"{name}.{'-'.join(map(str, workers))}.attack"
    deaths = len(server.events("child-died"))
    with Client(server.endpoint) as client, contextlib.suppress(ConnectionError, EOFError):
        client.greet(PASSWORD)
        client.authenticate(b"alice", b"correct horse")
        client.request(asked, 1)

    def verdict() -> str | None:
        ends = server.events("end", to=f"{asked}:1")
        died = server.events("child-died")[deaths:]
        return died[0]["how"] if died else ends[0]["hint"] if ends and ends[0].get("hint") else None

    return eventually(verdict) or "nothing came of it"


def expected(name: str, is_root: bool) -> str:
    """How the verdict begins. That an attempt has a mistake is no denial, so its errors are named."""
    if name in FATAL:
        return "killed by SIGSYS"
    if name in POSSIBLE or (name == "start_threads_without_end" and not is_root):
        return "succeeded"
    errors = (
        "OSError|PermissionError|FileNotFoundError|MemoryError|ModuleNotFoundError|RuntimeError: can't start"
    )
    return rf"denied: ({errors})"


def test_every_attempt_is_denied_but_those_that_nothing_prevents(
    server: Server, echo: Origin, request: pytest.FixtureRequest
) -> None:
    is_root = request.node.callspec.params["server"] == "root"
    supervisor, agent = server.supervisor, server.lookup
    found = {name: attack(server, name) for name in ATTEMPTS}
    wrong = {
        name: verdict for name, verdict in found.items() if not re.match(expected(name, is_root), verdict)
    }
    assert not wrong
    # One death and one alarm for each that has to kill; nobody else came to harm.
    assert len(server.events("sandbox-alarm")) == len(server.events("child-died")) == len(FATAL)
    assert (server.supervisor, server.lookup) == (supervisor, agent)
    # Who takes their places finds everything in order: the listener, the channels, the log.
    workers = server.workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    server.wait_for_workers(2, without=workers)
    for _ in range(2 * NAME_CHANNELS):
        with Client(server.endpoint) as client:
            client.open("localhost", echo.port, b"alice", b"correct horse")
            assert client.exchange(b"still here") == b"still here"


def test_what_others_see_of_its_confinement(server: Server, request: pytest.FixtureRequest) -> None:
    """From outside, without root's rights: everything but Landlock is in /proc/PID/status."""
    assert server.lookup
    held = server.wait_for("sandbox")["holds"].split(", ")
    names = [word.split(" ")[0] for word in held]
    is_root = request.node.callspec.params["server"] == "root"
    root_only = ["chroot"] if is_root else []
    account = OWN_ACCOUNT if is_root else NOBODY
    assert names == ["limits", *root_only, "ids", "no_new_privs", "Landlock", "seccomp"]
    for pid in (*server.workers, server.lookup):
        status = processes.status(pid)
        assert set(status["Uid"].split()) == {str(account.pw_uid if os.geteuid() == 0 else os.geteuid())}
        assert (status["CapEff"], status["CapPrm"], status["CapAmb"]) == ("0" * 16,) * 3
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        assert os.geteuid() or not status["Groups"].strip()


def test_a_supervisor_that_is_not_root_hides_its_memory(server: Server) -> None:
    """Its children run under the same account, so else they could look into it."""
    owner = os.stat(f"/proc/{server.supervisor}/environ").st_uid
    assert owner == 0  # whose files are root's although it is not cannot be looked into (proc(5))


def test_a_worker_that_is_killed_outright_is_no_alarm(server: Server) -> None:
    os.kill(server.workers[0], signal.SIGKILL)
    server.wait_for("child-died", how="killed by SIGKILL")
    assert not server.events("sandbox-alarm")
    server.wait_for_workers(2)
