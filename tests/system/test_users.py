"""The file of users, changed while a server runs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from functools import partial
from pathlib import Path

from forksocks.access.hashes import Parameters, hashed
from forksocks.process.children import PASSWORD_CHANNELS
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import Server

ROUNDS = 15
OFTEN = 3  # kills of one agent, whose pauses grow, and whoever waits too long is refused
CHEAP = Parameters(memory=8, passes=1, lanes=1)
ALICE = b"alice:" + hashed(b"secret", CHEAP) + b"\n"
BOB = b"bob:" + hashed(b"secret", CHEAP) + b"\n"


def write(path: Path, content: bytes) -> None:
    """Replace the file whole, as forksocksctl does."""
    new = path.with_name("new")
    new.write_bytes(content)
    new.chmod(0o600)
    new.rename(path)


def may_enter(server: Server, user: bytes) -> bool:
    with Client(server.endpoint) as client:
        client.greet(2)
        return client.authenticate(user, b"secret") == 0


def test_changes_hold_and_mistakes_change_nothing(server: Start, echo: Origin, tmp_path: Path) -> None:
    users = tmp_path / "users"
    write(users, ALICE)
    running = server("--users", str(users))

    def change(content: bytes, number: int) -> None:
        """Guessing until it works would be a reason to be banned."""
        write(users, content)
        assert eventually(lambda: len(running.events("users-read")) == number)

    with Client(running.endpoint) as tunnel:
        tunnel.open(echo.host, echo.port, user=b"alice", password=b"secret")
        assert not may_enter(running, b"bob")
        change(ALICE + BOB, 1)
        assert may_enter(running, b"bob")
        change(BOB, 2)
        assert not may_enter(running, b"alice")
        assert may_enter(running, b"bob")
        write(users, BOB + b"half a line")
        running.wait_for("users-refused")
        assert may_enter(running, b"bob")
        change(b"", 3)
        assert not may_enter(running, b"bob")
        assert tunnel.exchange(b"still open") == b"still open"


def test_right_passwords_are_right_whatever_happens_to_the_agent_and_the_file(
    server: Start, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    write(users, ALICE + BOB)
    running = server(config=BOTH.format(users=users))
    chance = random.Random("an agent, a file, a reload")
    stop = threading.Event()
    refused: list[bytes] = []
    tried: Counter[bytes] = Counter()
    killed: Counter[int] = Counter()

    def keep_trying(user: bytes) -> None:
        while not stop.is_set():
            if not may_enter(running, user):
                refused.append(user)
            tried[user] += 1

    def has_tried(times: int) -> bool:
        return tried.total() >= times

    def change() -> None:
        write(users, ALICE + BOB + b"# %d\n" % chance.randrange(10**9))

    def reload() -> None:
        running.send_signal(signal.SIGHUP)

    def kill() -> None:
        agent, generation = running.lookup, len(running.events("reloaded"))
        if agent is None or killed[generation] == OFTEN:
            return
        killed[generation] += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(agent, signal.SIGKILL)

    threads = [threading.Thread(target=keep_trying, args=(user,)) for user in (b"alice", b"bob")]
    for thread in threads:
        thread.start()
    try:
        for _ in range(ROUNDS):
            for act in chance.sample([change, reload, kill], chance.randrange(1, 4)):
                act()
            wanted = tried.total() + chance.randrange(2, 20)
            assert eventually(partial(has_tried, wanted))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not refused
    assert running.events("child-died")


BOTH = """
[server]
workers = 2
[[listen]]
bind = ["127.0.0.1:0"]
auth = ["password", "none"]
[access]
allow_from = ["@loopback"]
allow_to = ["@loopback"]
[auth]
users = "{users}"
"""


def test_over_a_broken_file_an_agent_that_was_killed_still_looks_up_names(
    server: Start, echo: Origin, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    write(users, ALICE + BOB)
    running = server(config=BOTH.format(users=users))
    assert may_enter(running, b"alice")
    write(users, ALICE + BOB + b"half a line")
    running.wait_for("users-refused")
    before = running.lookup
    assert before is not None
    os.kill(before, signal.SIGKILL)
    assert eventually(lambda: running.lookup not in (None, before))
    with Client(running.endpoint) as client:
        client.open("localhost", echo.port)
        assert client.exchange(b"found") == b"found"
    entered = [may_enter(running, b"bob") for _ in range(10)]
    assert not any(entered), "nobody knows whether it is right"
    running.wait_for("auth-unavailable")
    assert not running.events("banned")
    write(users, ALICE + BOB)
    while not entered[-1]:
        entered.append(may_enter(running, b"bob"))
    assert len(running.events("child-died")) == 1
    running.stop()
    first, others = running.events("auth-unavailable")
    assert "more" not in first
    # Who had asked when the new agent greeted has asked again, once for each channel at most.
    assert 0 <= int(others["more"]) - (entered.count(False) - 1) <= PASSWORD_CHANNELS
