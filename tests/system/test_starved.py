"""A machine that gives no process, no shared memory, or kills for its memory: at the start and later on.

Where a control group can be made the server is in one of its own, with a real pids.max and a real limit of
memory. pids.max, TasksMax= and RLIMIT_NPROC all make clone(2) say EAGAIN; the last needs no group, but binds
nobody who is root, so that server runs as an account that nobody else has.
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
from typing import Protocol

import pytest

from tests.system import cgroup, injection
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually
from tests.system.server import Server, command, started

LIMITS = (
    "the limit of processes and threads is reached (ulimit -u, pids.max of a container, TasksMax= of systemd)"
)
ENOUGH = 200
FLAGS = ("--workers", "2", "--sandbox", "off")
ROOM = 6 << 20  # bytes of memory beyond what a server has that does nothing
TUNNELS = 5000  # more than fit into ROOM
STARTS = range(16 << 20, 128 << 20, 2 << 20)  # bytes: from too little for the interpreter to enough for all
NOBODY = str(100_000 + os.getpid())


class Limit(Protocol):
    """A limit of processes and threads that a server can be started below."""

    def words(self, most: int) -> list[str]:
        """The words of a server that may have so many."""
        ...

    def set(self, pid: int, most: int) -> None:
        """Let a process have so many from now on, or it and all others of its server."""
        ...


class OfTheGroup:
    """pids.max, for all processes of a control group together."""

    def __init__(self, group: cgroup.Group) -> None:
        self._group = group

    def words(self, most: int) -> list[str]:
        self._group.limit(most)
        return [*self._group.inside, *command(FLAGS)]

    def set(self, pid: int, most: int) -> None:
        self._group.limit(most)


class OfTheAccount:
    """RLIMIT_NPROC; reading all files stays possible, for the interpreter may be root's."""

    def words(self, most: int) -> list[str]:
        limits = ["prlimit", f"--nproc={most}:{ENOUGH}", "--"]
        if os.geteuid():  # a namespace counts its own, and root in it is none outside
            return ["unshare", "-r", *limits, *command(FLAGS)]
        kept = "+dac_read_search,+dac_override"
        groups = ["--clear-groups", "--inh-caps", kept, "--ambient-caps", kept]
        words = [word for word in command(FLAGS) if word not in ("--user", "root")]  # nor can it become any
        return ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, *groups, "--", *limits, *words]

    def set(self, pid: int, most: int) -> None:
        """As itself: for another's limits root may lack a capability in a container."""
        who = (
            [] if os.geteuid() else ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]
        )
        words = [*who, "prlimit", "--pid", str(pid), f"--nproc={most}:{ENOUGH}"]
        subprocess.run(words, check=True, timeout=LONG)


@pytest.fixture(params=["group", "account"])
def limit(request: pytest.FixtureRequest) -> Iterator[Limit]:
    """The account's also where no group can be made."""
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(cgroup.made("pids")) if request.param == "group" else None
        yield OfTheAccount() if group is None else OfTheGroup(group)


@contextlib.contextmanager
def no_more_processes(limit: Limit, *pids: int) -> Iterator[None]:
    """They get no other process and no thread, until the block ends."""
    for pid in pids:
        limit.set(pid, 1)
    try:
        yield
    finally:
        for pid in pids:
            limit.set(pid, ENOUGH)


@contextlib.contextmanager
def limited(limit: Limit) -> Iterator[Server]:
    """A server that a limit of processes binds, and that has enough of them."""
    with started(limit.words(ENOUGH)) as server:
        yield server
        server.stop()


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
    def test_too_few_to_start_with_are_told(self, limit: Limit, most: int) -> None:
        """None for a child, for its log, for the lookup agent's channels, for the first clients."""
        last = refused(limit.words(most))
        assert re.fullmatch(r"forksocks: (lookup|worker \d) cannot be started: " + re.escape(LIMITS), last)

    def test_who_dies_meanwhile_is_replaced_as_soon_as_there_is_room(
        self, limit: Limit, echo: Origin
    ) -> None:
        with limited(limit) as server:
            before = server.workers
            with no_more_processes(limit, server.supervisor):
                os.kill(before[0], signal.SIGKILL)
                failed = server.wait_for("fork-failed", child="worker 1")
                assert failed["error"] == LIMITS
                assert is_served(server, echo), "by the other one"
                assert server.workers == before[1:]
            server.wait_for_workers(2, without=before[:1])
            assert is_served(server, echo)

    def test_clients_of_workers_without_a_thread_wait(self, limit: Limit, echo: Origin) -> None:
        with limited(limit) as server, contextlib.ExitStack() as stack:
            with no_more_processes(limit, *server.workers):
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
    """Where no group can be made no test may exhaust the machine: whom the kernel would choose is killed."""

    @pytest.mark.parametrize("real", [True, False])
    def test_it_is_a_child_and_it_is_replaced(self, memory: cgroup.Group | None, echo: Origin) -> None:
        inside = [] if memory is None else memory.inside
        with started([*inside, *command(FLAGS)]) as running:
            for _ in range(3):
                exhaust(running, memory, echo)
                killed = [int(line["pid"]) for line in running.events("child-died")]
                assert {line["how"] for line in running.events("child-died")} == {"killed by SIGKILL"}
                running.wait_for_workers(2, without=killed)
                assert eventually(lambda: is_served(running, echo))
            running.stop()

    @pytest.mark.parametrize("real", [True, False])
    def test_at_the_start_it_is_told(self, memory: cgroup.Group | None) -> None:
        if memory is None:
            fault = ["-P", "/proc/self/oom_score_adj", "-e", "inject=openat:signal=SIGKILL"]
            last = refused(["strace", "-D", "-f", "-qq", "-o", os.devnull, *fault, *command(FLAGS)])
        else:
            last = least(memory)
        assert re.fullmatch(r"forksocks: (lookup|worker \d) ended while starting \(killed by SIGKILL\)", last)


@pytest.fixture
def memory(real: bool) -> Iterator[cgroup.Group | None]:
    """A group with a limit of memory; None for the stand-in, and where no group can be made."""
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(cgroup.made("memory")) if real else None


def least(memory: cgroup.Group) -> str:
    """What a server says last in the smallest group in which its supervisor, if nobody else, has room."""
    for most in STARTS:
        memory.limit(most)
        with subprocess.Popen(
            [*memory.inside, *command(FLAGS)], stderr=subprocess.PIPE, text=True
        ) as process:
            _, said = process.communicate(timeout=LONG)
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 1, said
            return said.splitlines()[-1]
        assert eventually(memory.is_empty)
    raise AssertionError("there was never room")


def exhaust(server: Server, memory: cgroup.Group | None, echo: Origin) -> None:
    """Have the kernel kill somebody of the server for his memory, or kill whom it would choose."""
    before = len(server.events("child-died"))
    if memory is None:
        victim = max(server.pids, key=oom_score)
        assert victim != server.supervisor
        os.kill(victim, signal.SIGKILL)
        server.wait_for("child-died", pid=victim)
        return
    memory.limit(memory.used + ROOM)
    with contextlib.ExitStack() as stack:
        for _ in range(TUNNELS):
            if len(server.events("child-died")) > before:
                break
            with contextlib.suppress(ConnectionError, EOFError):
                stack.enter_context(Client(server.endpoint)).open(echo.host, echo.port)
    assert len(server.events("child-died")) > before, "there was room for all"


def oom_score(pid: int) -> int:
    """What the kernel sorts by (proc(5))."""
    return int(Path(f"/proc/{pid}/oom_score").read_text())
