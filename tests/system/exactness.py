"""Are the counters exact? `tests/exact [SECONDS] [--seed N]`: a server, clients, faults, one sum at the end.

Threads of clients open tunnels, move bytes, leave in every way, and are refused, while the configuration is
read again, the program is replaced, the admin process is killed, and, when all is quiet for a moment, workers
are. What the clients' own sockets have moved, the scoreboard, the metrics and the log must then agree: every
session, every byte, every cause.

Workers are killed when everything that has ended is in the log: what a worker has yet to write dies with it,
which is said where that is (session.life). The scoreboard needs no such care (test_books).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forksocks.verbs.asking import ask
from tests.system import origins, processes
from tests.system.client import Client
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually
from tests.system.server import Server, running

CONFIG = """
[server]
workers = 3
threads = 60
[[listen]]
name = "lan"
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback"]
[log]
level = "debug"
to = "file:{folder}/log"
[admin]
socket = "{folder}/admin.sock"
http = "127.0.0.1:{port}"
[[rule]]
name = "closed"
ports = [9]
action = "deny"
[[rule]]
name = "open"
action = "allow"
"""
CROWD, DEEDS = 4, 12  # threads of clients, and how much each does in a round
LARGEST = 200_000  # bytes of an exchange
FAULTS = ("kill", "reload", "kill", "admin", "upgrade", "kill")


@dataclass
class Sums:
    """Sessions, bytes up and down, and how many sessions ended by which cause."""

    sessions: int = 0
    up: int = 0
    down: int = 0
    causes: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        ends = ", ".join(f"{number} {cause}" for cause, number in sorted(self.causes.items()))
        return f"{self.sessions} sessions, {self.up} bytes up, {self.down} down; {ends}"


class Person:
    """Somebody with tunnels, who does one thing after the other and counts what the sockets took and gave."""

    def __init__(self, server: Server, echo: Origin, seed: int) -> None:
        self._server = server
        self._echo = echo
        self._chance = random.Random(seed)
        self.clients: list[Client] = []
        self.done = Sums()

    def act(self) -> None:
        """A round."""
        for _ in range(DEEDS):
            self._chance.choice((self._open, self._talk, self._talk, self._talk, self._leave, self._fail))()

    def look(self) -> None:
        """Give up the tunnels that were cut: their server's end has been closed."""
        for client in list(self.clients):
            client.sock.setblocking(False)
            try:
                is_cut = not client.sock.recv(1)
            except BlockingIOError:
                is_cut = False
            except OSError:
                is_cut = True
            client.sock.settimeout(LONG)
            if is_cut:
                client.sock.close()
                self.clients.remove(client)

    def go(self) -> None:
        """Leave all tunnels."""
        while self.clients:
            self._leave()

    def _new(self) -> Client:
        """Whoever comes again and again from one address is refused, but not told of in the log each time."""
        self.done.sessions += 1
        source = f"127.{self._chance.randrange(1, 255)}.{self._chance.randrange(256)}.1"
        return Client(socket.create_connection(self._server.endpoint, LONG, (source, 0)))

    def _open(self) -> None:
        client = self._new()
        client.open(self._chance.choice((self._echo.host, "localhost")), self._echo.port)
        self.clients.append(client)

    def _talk(self) -> None:
        if self.clients:
            data = self._chance.randbytes(self._chance.randrange(1, LARGEST))
            assert self._chance.choice(self.clients).exchange(data) == data
            self.done.up += len(data)
            self.done.down += len(data)

    def _leave(self) -> None:
        if self.clients:
            client = self.clients.pop(self._chance.randrange(len(self.clients)))
            self._chance.choice((client.sock.close, client.reset, lambda: _say_goodbye(client)))()

    def _fail(self) -> None:
        """Be refused, or leave before anything is asked."""
        with self._new() as client:
            kind = self._chance.choice(("denied", "refused", "garbage", "nothing", "half"))
            if kind == "garbage":
                client.sock.sendall(b"\x07nonsense")
                client.until_end()
            elif kind == "half":
                client.sock.sendall(b"\x05")
            elif kind != "nothing":
                client.greet()
                assert client.request("127.0.0.1", 9 if kind == "denied" else 1).code != 0
                client.until_end()


def _say_goodbye(client: Client) -> None:
    client.sock.shutdown(socket.SHUT_WR)
    assert client.until_end() == b""
    client.sock.close()


class Chaos:
    """The server and those around it; `wrong` is what did not agree."""

    def __init__(self, server: Server, folder: Path, port: int, echo: Origin, seed: int) -> None:
        self.server = server
        self._socket = folder / "admin.sock"
        self._port = port
        self._chance = random.Random(seed)
        self._people = [Person(server, echo, seed + number) for number in range(CROWD)]
        self.faults: Counter[str] = Counter()
        self.programs = [server.supervisor]

    def run(self, seconds: float) -> None:
        """Until the time is over, and every fault has happened at least once."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or len(self.faults) < len(set(FAULTS)):
            for fault in FAULTS:
                threads = [threading.Thread(target=person.act) for person in self._people]
                for thread in threads:
                    thread.start()
                if fault != "kill":
                    self._happen(fault)
                for thread in threads:
                    thread.join()
                if fault == "kill":
                    self._happen(fault)
        for person in self._people:
            person.go()
        self._settle()

    def _happen(self, fault: str) -> None:
        deeds: dict[str, Callable[[], None]] = {
            "kill": self._kill, "reload": self._reload, "admin": self._kill_admin, "upgrade": self._upgrade,
        }  # fmt: skip
        deeds[fault]()
        self.faults[fault] += 1

    def _kill(self) -> None:
        self._settle()
        workers = self._called("forksocks: worker")
        pid = self._chance.choice(workers)
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: self.server.events("child-died", pid=pid)), "nobody buried a worker"
        assert eventually(lambda: not processes.is_alive(pid))
        for person in self._people:
            person.look()
        self._settle()

    def _reload(self) -> None:
        before = len(self.server.events("reloaded"))
        os.kill(self.programs[-1], signal.SIGHUP)
        assert eventually(lambda: len(self.server.events("reloaded")) > before)

    def _upgrade(self) -> None:
        os.kill(self.programs[-1], signal.SIGUSR2)
        assert eventually(lambda: len(self.server.events("took-over")) == len(self.programs))
        self.programs.append(int(self.server.events("took-over")[-1]["pid"]))

    def _kill_admin(self) -> None:
        for pid in self._called("forksocks: admin"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _called(self, title: str) -> list[int]:
        return [pid for pid in self.server.left() if processes.title(pid).startswith(title)]

    def _settle(self) -> None:
        """Wait until all that the clients did has been counted, and is in the log."""

        def is_settled() -> bool:
            told = self.scoreboard()
            ended = sum(told.causes.values())
            opened = sum(len(person.clients) for person in self._people)
            done = self.done()
            return (
                (told.sessions, told.up, told.down) == (done.sessions, done.up, done.down)
                and ended == done.sessions - opened
                and len(self.server.events("end")) == ended
            )

        assert eventually(is_settled), f"{self.done()} | {self.scoreboard()} | {self.log()}"

    # What each of the four says

    def done(self) -> Sums:
        """What the clients' sockets have moved."""
        all_ = [person.done for person in self._people]
        return Sums(sum(s.sessions for s in all_), sum(s.up for s in all_), sum(s.down for s in all_))

    def scoreboard(self) -> Sums:
        """The totals of `forksocksctl status`."""
        totals: dict[str, Any] = next(ask(self._socket, "status"))["totals"]
        return Sums(totals["accepted"], totals["up"], totals["down"], Counter(totals["ends"]))

    def metrics(self) -> Sums:
        """/metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=LONG) as answer:
            text = answer.read().decode()

        def of(name: str, label: str = "") -> int:
            found = re.findall(rf"^{name}_total\{{(.*)\}} (\S+)$", text, re.MULTILINE)
            return int(sum(float(value) for labels, value in found if label in labels))

        causes = set(re.findall(r'cause="([^"]+)"', text))
        ends = {cause: of("forksocks_session_ends", f'cause="{cause}"') for cause in causes}
        return Sums(
            of("forksocks_accepted"), of("forksocks_relay_bytes", 'direction="up"'),
            of("forksocks_relay_bytes", 'direction="down"'), Counter({c: n for c, n in ends.items() if n}),
        )  # fmt: skip

    def log(self) -> Sums:
        """The lines that sessions have at their end."""
        ends = self.server.events("end")
        up, down = (sum(int(end.get(way) or 0) for end in ends) for way in ("up", "down"))
        return Sums(len(ends), up, down, Counter(end["cause"] for end in ends))


def compared(chaos: Chaos) -> list[str]:
    """What does not agree; one who has counted no causes cannot disagree on them."""
    board = chaos.scoreboard()
    wrong = [
        f"{name}: {found}\nscoreboard: {board}"
        for name, found in (("metrics", chaos.metrics()), ("log", chaos.log()))
        if found != board
    ]
    done = chaos.done()
    if (done.sessions, done.up, done.down) != (board.sessions, board.up, board.down):
        wrong.append(f"clients: {done}\nscoreboard: {board}")
    if sum(board.causes.values()) != board.sessions:
        wrong.append(f"the causes do not add up: {board}")
    if left_out := chaos.server.events("log-dropped") + chaos.server.events("log-limited"):
        wrong.append(f"lines were left out of the log, so that it cannot agree: {left_out}")
    return wrong


def exactness(folder: Path, seconds: float, seed: int) -> tuple[Chaos, list[str]]:
    """Run it in a folder with a short name; what was done, and what was wrong."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "forksocks.toml"
    config.write_text(CONFIG.format(folder=folder, port=port))
    with running(config=config, follow=folder / "log") as server, origins.serving(origins.echo) as echo:
        chaos = Chaos(server, folder, port, echo, seed)
        try:
            chaos.run(seconds)
            wrong = compared(chaos)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chaos.programs[-1], signal.SIGTERM)
            assert eventually(lambda: not server.left())
    return chaos, wrong


def main() -> int:
    """The command; its exit status is 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="tests/exact", description=__doc__.partition("\n")[0])
    parser.add_argument("seconds", type=float, nargs="?", default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="exact") as folder:
        chaos, wrong = exactness(Path(folder), arguments.seconds, arguments.seed)
    print(f"{', '.join(f'{number} {fault}' for fault, number in chaos.faults.items())}\n{chaos.log()}")
    print("\n".join(wrong) or "clients, scoreboard, metrics and log agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
