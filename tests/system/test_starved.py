"""A machine that gives no process, no shared memory, or kills for its memory: at the start and later on.

pids.max, TasksMax= and RLIMIT_NPROC all make clone(2) say EAGAIN; the last is the one that needs no cgroup.
It binds nobody who is root, so the server runs as an account that nobody else has.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import injection
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually
from tests.system.server import Server, command

LIMITS = (
    "the limit of processes and threads is reached (ulimit -u, pids.max of a container, TasksMax= of systemd)"
)
ENOUGH = 200
NOBODY = str(100_000 + os.getpid())


def with_processes(most: int) -> list[str]:
    """The words of a server that may have so many processes and threads.

    Reading all files stays possible, for the interpreter may be root's.
    """
    words = command(["--workers", "2", "--sandbox", "off"], ("127.0.0.1:0",))
    limits = ["prlimit", f"--nproc={most}:{ENOUGH}", "--"]
    if os.geteuid():
        return [
            "unshare",
            "-r",
            *limits,
            *words,
        ]  # a namespace counts its own, and root in it is none outside
    kept = "+dac_read_search,+dac_override"
    groups = ["--clear-groups", "--inh-caps", kept, "--ambient-caps", kept]
    words = [word for word in words if word not in ("--user", "root")]  # it cannot become anybody
    return ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, *groups, "--", *limits, *words]


@contextlib.contextmanager
def no_more_processes(pid: int) -> Iterator[None]:
    """A process gets no other and no thread, until the block ends."""
    limit(pid, 1)
    try:
        yield
    finally:
        limit(pid, ENOUGH)


def limit(pid: int, most: int) -> None:
    """As itself: for another's limits root may lack a capability in a container."""
    who = [] if os.geteuid() else ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]
    words = [*who, "prlimit", "--pid", str(pid), f"--nproc={most}:{ENOUGH}"]
    subprocess.run(words, check=True, timeout=LONG)


@contextlib.contextmanager
def limited() -> Iterator[Server]:
    """A server that a limit of processes binds, and that has enough of them."""
    server = Server(with_processes(ENOUGH))
    try:
        server.wait_until_started()
        yield server
        server.stop()
    except BaseException:
        print("\n".join(["the server's log:", *server.log]))
        raise
    finally:
        server.kill()


def refused(words: list[str]) -> str:
    """The last line of a server that cannot start; nothing of it is left."""
    # coverage could not write its file either, and would say so
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    with subprocess.Popen(
        words, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    ) as process:
        try:
            _, said = process.communicate(timeout=LONG)
        except subprocess.TimeoutExpired:  # it has started after all
            os.killpg(process.pid, signal.SIGTERM)
            raise
    assert process.returncode == 1, said
    assert " crash" not in said
    assert "Traceback" not in said
    assert eventually(lambda: not is_there(process.pid))
    return said.splitlines()[-1]


def is_there(group: int) -> bool:
    """Whether a process of it is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


def is_served(server: Server, echo: Origin) -> bool:
    with Client(server.endpoint) as client:
        client.open(echo.host, echo.port)
        return client.exchange(b"hello") == b"hello"


class TestProcesses:
    @pytest.mark.parametrize("most", [1, 2, 3, 20, 39, 40])
    def test_too_few_to_start_with_are_told(self, most: int) -> None:
        """None for a child, for its log, for the lookup agent's channels, for the first clients."""
        last = refused(with_processes(most))
        assert re.fullmatch(r"forksocks: (lookup|worker \d) cannot be started: " + re.escape(LIMITS), last)

    def test_who_dies_meanwhile_is_replaced_as_soon_as_there_is_room(self, echo: Origin) -> None:
        with limited() as server:
            before = server.workers
            with no_more_processes(server.supervisor):
                os.kill(before[0], signal.SIGKILL)
                failed = server.wait_for("fork-failed", child="worker 1")
                assert failed["error"] == LIMITS
                assert is_served(server, echo), "by the other one"
                assert server.workers == before[1:]
            server.wait_for_workers(2, without=before[:1])
            assert is_served(server, echo)

    def test_clients_of_workers_without_a_thread_wait(self, echo: Origin) -> None:
        with limited() as server, contextlib.ExitStack() as stack:
            with no_more_processes(server.workers[0]), no_more_processes(server.workers[1]):
                waiting = [stack.enter_context(Client(server.endpoint)) for _ in range(4)]
                for client in waiting:
                    client.sock.sendall(b"\5\1\0")
                server.wait_for("short", of="thread")
            for client in waiting:
                assert client.exactly(2) == b"\5\0"
            assert is_served(server, echo)
            assert not server.events("child-died")


class TestSharedMemory:
    """It has no size to fill: the machine's memory ends it, or a limit of file sizes (memfd_create(2))."""

    @pytest.mark.parametrize("part", range(1, 7))
    @pytest.mark.parametrize("error", ["ENOSPC", "ENOMEM"])
    def test_too_little_to_start_with_is_told(self, error: str, part: int) -> None:
        fault = f"inject=ftruncate:error={error}:when={part}"
        tracing = ["strace", "-D", "-f", "-qq", "-o", os.devnull, "-e", "trace=ftruncate", "-e", fault]
        last = refused([*tracing, *command([], ("127.0.0.1:0",))])
        assert last.startswith("forksocks: cannot make room for ")
        assert last.endswith(f": {os.strerror(getattr(errno, error))}")

    def test_a_limit_of_file_sizes_is_told(self) -> None:
        last = refused(["prlimit", "--fsize=1000", "--", *command([], ("127.0.0.1:0",))])
        assert last == f"forksocks: cannot make room for 2 workers: {os.strerror(errno.EFBIG)}"

    def test_later_on_the_server_stays_as_it_is(self, server: Start, echo: Origin) -> None:
        running = server()
        workers = running.workers
        with injection.into(running.supervisor, "ftruncate:error=ENOSPC"):
            running.send_signal(signal.SIGHUP)
            running.wait_for(
                "reload-refused", error="cannot make room for 2 workers: No space left on device"
            )
            running.send_signal(signal.SIGTTIN)
            running.wait_for("no-worker-more", error="No space left on device")
        assert running.workers == workers
        assert is_served(running, echo)
        running.send_signal(signal.SIGHUP)
        running.wait_for("reloaded")
        assert is_served(running, echo)


class TestKilledForItsMemory:
    """Without a cgroup of its own no test may exhaust a machine: whom the kernel would choose is killed."""

    def test_it_is_a_child_and_it_is_replaced(self, server: Start, echo: Origin) -> None:
        running = server()
        chosen: list[int] = []
        for _ in range(len(running.pids)):
            victim = max(running.pids, key=oom_score)
            assert victim != running.supervisor
            chosen.append(victim)
            os.kill(victim, signal.SIGKILL)
            running.wait_for("child-died", pid=victim, how="killed by SIGKILL")
            running.wait_for_workers(2, without=chosen)
            assert is_served(running, echo)


def oom_score(pid: int) -> int:
    """What the kernel sorts by (proc(5))."""
    return int(Path(f"/proc/{pid}/oom_score").read_text())
