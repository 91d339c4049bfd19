"""Starts real servers and ends them, so that a test waits for what a server says and never for a time.

    with running("--relay", "copy") as server:
        with Client(server.endpoint) as client: ...
        server.wait_for("end", cause="client-closed")

Leaving ends the server with SIGTERM (only then coverage data is written), and fails the test if its exit
status is not 0, if a process of it is left, or if it logged a crash. `started` leaves the end to the test.
Its log is what pytest shows when a test fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from tests.system import processes
from tests.system.processes import LONG, eventually

ROOT = Path(__file__).parents[2]
# A confined process cannot write its coverage data, so most tests do without; tests/attacks shows what the
# sandbox holds, and FORKSOCKS_SANDBOX=require runs everything below it.
SANDBOX = os.environ.get("FORKSOCKS_SANDBOX", "off")
# What is started: tests.system.elsewhere is forksocks on a system without anything that only Linux has.
PROGRAM = "forksocks"
DEFAULTS: Mapping[str, str] = {"--workers": "2", "--allow-to": "@loopback", "--drain": "5s"}
ANY_PORT = ("127.0.0.1:0",)
# The head of a configuration for tests that look at a server through forksocksctl; its files are in `folder`.
# It ends in the listener, which may be given a name.
OBSERVED = """
[server]
workers = 2
threads = 50
[access]
allow_to = ["@loopback"]
[admin]
socket = "{folder}/admin.sock"
[[listen]]
bind = ["127.0.0.1:0"]
"""
_FIELD = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|\S*)')

T = TypeVar("T")


class Server:
    """One running server: its addresses, its processes and its log; `with` leaves nobody of it behind.

    A log line's fields come from text as strings, from JSON as what they are.
    """

    def __init__(
        self, command: Sequence[str], follow: Path | None = None, pass_fds: Sequence[int] = ()
    ) -> None:
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._ended = False
        self.addresses: tuple[str, ...] = ()
        self.bugs: set[str] = set()  # errors that a test has put there itself
        # Its own session: whatever it leaves behind can be found and killed.
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, start_new_session=True, pass_fds=pass_fds,
        )  # fmt: skip
        assert self.process.stderr is not None
        self._readers = [threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True)]
        if follow is not None:
            self._readers.append(threading.Thread(target=self._follow, args=(follow,), daemon=True))
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        print("\n".join(["the server's log:", *self.log]))

    # Where it is

    @property
    def address(self) -> str:
        """The first address that it listens on, as a user writes it."""
        return self.addresses[0]

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port of the first address, for socket.connect."""
        return endpoint(self.address)

    @property
    def port(self) -> int:
        """The first address's port."""
        return self.endpoint[1]

    # Who it is

    @property
    def supervisor(self) -> int:
        """The supervisor's pid."""
        return self.process.pid

    @property
    def workers(self) -> list[int]:
        """The pids of the newest generation's workers that run now, by their number."""
        found = processes.workers(self.supervisor)
        newest = max((generation for generation, _ in found), default=0)
        return [found[row] for row in sorted(found) if row[0] == newest]

    def wait_for_workers(self, count: int, without: Collection[int] = ()) -> list[int]:
        """Wait until `count` workers of the newest generation run and none of `without`; return them.

        Asked in two questions, one sees a process before and the other after it was killed.
        """

        def wanted() -> list[int]:
            found = self.workers
            return found if len(found) == count and not set(found) & set(without) else []

        found = eventually(wanted)
        assert found, f"not {count} workers without {without}: {self.workers}"
        return found

    @property
    def generations(self) -> set[int]:
        """The generations of which a worker runs now."""
        return {generation for generation, _ in processes.workers(self.supervisor)}

    @property
    def lookup(self) -> int | None:
        """The lookup agent's pid, None while there is none."""
        for pid in processes.children(self.supervisor):
            if processes.title(pid).startswith("forksocks: lookup"):
                return pid
        return None

    @property
    def pids(self) -> list[int]:
        """Every process of it: the supervisor first."""
        return [self.supervisor, *processes.children(self.supervisor)]

    def send_signal(self, number: int) -> None:
        """Send a signal to the supervisor."""
        self.process.send_signal(number)

    # What it says

    @property
    def log(self) -> list[str]:
        """All lines so far."""
        with self._changed:
            return list(self._lines)

    def events(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The lines of an event so far whose fields have these values, each as a mapping."""
        return [line for line in map(parse, self.log) if _matches(line, event, fields)]

    def wait_for_log(self, pattern: str, seconds: float = LONG) -> re.Match[str]:
        """Wait for a line in which `pattern` is found; AssertionError if none comes."""
        found = self._wait(lambda line: re.search(pattern, line), seconds)
        assert found, f"no line {pattern!r} within {seconds:.0f} s"
        return found

    def wait_for(self, event: str, seconds: float = LONG, **fields: object) -> dict[str, Any]:
        """Wait for a line of an event whose fields have these values, and return its fields."""

        def wanted(text: str) -> dict[str, Any] | None:
            line = parse(text)
            return line if _matches(line, event, fields) else None

        found = self._wait(wanted, seconds)
        assert found, f"no event {event} {fields} within {seconds:.0f} s"
        return found

    def _wait(self, wanted: Callable[[str], T | None], seconds: float) -> T | None:
        deadline = time.monotonic() + seconds
        seen = 0
        with self._changed:
            while True:
                for line in self._lines[seen:]:
                    if found := wanted(line):
                        return found
                seen = len(self._lines)
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    return None
                self._changed.wait(left)

    def _read(self, stream: IO[bytes]) -> None:
        """Take standard error until the last process that holds it has ended."""
        with stream:
            for line in stream:
                self._say(line)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _follow(self, path: Path) -> None:
        """Take a log file's lines, of the file that first had this name, until the server has ended."""
        if not eventually(lambda: path.exists() or self._ended):
            return
        rest = b""
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            while True:
                ended = self._ended
                *lines, rest = (rest + file.read()).split(b"\n")
                for line in lines:
                    self._say(line)
                if ended:
                    return
                time.sleep(processes.LOOK)

    def _say(self, line: bytes) -> None:
        with self._changed:
            self._lines.append(line.decode(errors="backslashreplace").rstrip("\n"))
            self._changed.notify_all()

    # How it begins and ends

    def wait_until_started(self) -> None:
        """Wait until every worker serves, and learn the addresses."""
        started = self.wait_for("started")
        self.addresses = tuple(started["listen"].split(","))

    def stop(self, number: int = signal.SIGTERM, status: int = 0) -> None:
        """End it and check how it ended: exit status, no process left, no bug logged."""
        if self.process.poll() is None:
            self.send_signal(number)
        try:
            found = self.process.wait(LONG)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running {LONG:.0f} s after {signal.Signals(number).name}") from None
        assert found == status, f"exit status {found}, expected {status}"
        assert eventually(lambda: not self.left()), f"processes left behind: {self.left()}"
        self._join()
        crashes = [line for line in self.events("crash") if line["error"] not in self.bugs]
        assert not crashes, f"crashed: {crashes}"

    def left(self) -> list[int]:
        """Processes of its session that still run beside the supervisor."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.supervisor:
                pid = int(entry.name)
                with contextlib.suppress(*processes.GONE):
                    if processes.stat(pid)[3] == str(self.supervisor) and processes.is_alive(pid):
                        found.append(pid)
        return found

    def kill(self) -> None:
        """End all its processes, whatever they are doing."""
        for pid in [self.supervisor, *self.left()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._join()

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(LONG)


@contextlib.contextmanager
def running(
    *flags: str,
    listen: Sequence[str] = ANY_PORT,
    config: Path | None = None,
    follow: Path | None = None,
    inside: Sequence[str] = (),
) -> Iterator[Server]:
    """Run a server until the block ends.

    flags: as a user types them; without --workers, --allow-to, --drain, --sandbox and -v or -q small defaults
    are added. listen: addresses. config: a file, which then says everything else itself, and `listen` is
    ignored. follow: the log file that the configuration names, if it does not log to standard
    error. inside: words before the command, which must become it (a machine's `enter`; a program that traces
    it).
    """
    with started(command(flags, listen, config, inside), follow) as server:
        yield server
        server.stop()


@contextlib.contextmanager
def started(words: Sequence[str], follow: Path | None = None) -> Iterator[Server]:
    """Start a server with these words and wait until it serves; the test ends it in its own way, or not."""
    with Server(words, follow) as server:
        server.wait_until_started()
        yield server


def command(
    flags: Sequence[str] = (),
    listen: Sequence[str] = ANY_PORT,
    config: Path | None = None,
    inside: Sequence[str] = (),
) -> list[str]:
    """The words that start a server."""
    words = [*inside, sys.executable, "-m", PROGRAM, *flags]
    if config is not None:
        words += ["--config", str(config)]
    else:
        words += [word for name, value in DEFAULTS.items() if name not in flags for word in (name, value)]
        if not any(re.fullmatch("-v+|-q", flag) for flag in flags):
            words.append("-v")
        words += listen
    is_root = os.geteuid() == 0 or inside  # root outside, or in a namespace
    sandbox = "auto" if inside and SANDBOX != "off" else SANDBOX
    if "--sandbox" not in flags and not (config and "sandbox" in config.read_text()):
        words += ["--sandbox", sandbox]
    if is_root and "--user" not in flags and sandbox != "require":
        words += ["--user", "root"]  # anyone else could not write the coverage data of his processes
    return words


def environment() -> dict[str, str]:
    """Our environment without what would send a program's traffic elsewhere or change its words."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | {"LC_ALL": "C.UTF-8"}


def endpoint(address: str) -> tuple[str, int]:
    """`[::1]:1080` -> ("::1", 1080)."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def parse(line: str) -> dict[str, Any]:
    """One log line of either format to its fields, with `time` and `event`; {} for anything else."""
    if line.startswith("{"):
        fields: dict[str, Any] = json.loads(line)
        return fields
    head = re.match(r"(\d{4}-\S+Z) (\S+)", line)
    if not head:
        return {}
    found = {key: _unquoted(value) for key, value in _FIELD.findall(line[head.end() :])}
    return {"time": head[1], "event": head[2], **found}


def _unquoted(value: str) -> str:
    return re.sub(r"\\([\"\\])", r"\1", value[1:-1]) if value.startswith('"') else value


def _matches(line: Mapping[str, Any], event: str, fields: Mapping[str, object]) -> bool:
    return line.get("event") == event and all(
        str(line.get(key)) == str(value) for key, value in fields.items()
    )
