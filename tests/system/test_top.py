"""`forksocksctl top` on a real terminal: what stands on its screen, and what its keys do."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from forksocks.access.hashes import Parameters, hashed
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import ctl, objects
from tests.system.screen import Screen
from tests.system.server import OBSERVED, Server

CONFIG = (
    OBSERVED
    + """
name = "lan"
[auth]
users = "{folder}/users"
[[rule]]
name = "staff"
action = "allow"
"""
)
USERS = ("alice", "bob", "carol")
COLOUR = re.compile(r"\x1b\[(\d+;)*3[1-7][;m]")  # ECMA-48, 8.3.117


@pytest.fixture
def folder() -> Iterator[Path]:
    """One with a short name: sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="top") as made:
        yield Path(made)


@pytest.fixture
def served(server: Start, folder: Path) -> Server:
    cheap = hashed(b"secret", Parameters(memory=8, passes=1, lanes=1))
    (folder / "users").write_bytes(b"".join(b"%b:%b\n" % (user.encode(), cheap) for user in USERS))
    (folder / "users").chmod(0o600)
    return server(config=CONFIG.format(folder=folder))


@pytest.fixture
def clients(served: Server, echo: Origin) -> Iterator[Mapping[str, Client]]:
    """A tunnel of each user."""
    with contextlib.ExitStack() as stack:
        found = {user: stack.enter_context(Client(served.endpoint)) for user in USERS}
        for user, client in found.items():
            client.open("localhost", echo.port, user.encode(), b"secret")
        yield found


def top(folder: Path, *words: str, size: tuple[int, int] = (80, 24), **extra: str) -> Screen:
    command = (sys.executable, "-m", "forksocks.ctl", "top", "--socket", f"{folder}/admin.sock", *words)
    return Screen(folder, ("env", *(f"{name}={value}" for name, value in extra.items()), *command), size)


def rows(screen: Screen, *users: str) -> list[str]:
    """The users whose tunnels are listed, from the top."""
    return [name for line in screen.lines()[4:-1] for name in users if re.search(rf"\b{name}\b", line)]


def test_what_stands_on_the_screen(
    folder: Path, clients: Mapping[str, Client], echo: Origin, served: Server
) -> None:
    with top(folder, LINES="20", COLUMNS="70") as screen:  # the terminal knows better
        screen.expect(*USERS, "running", "3 open, 3 in all", "q quit", "RTT ms")
        lines = screen.lines()
        assert len(lines) == 24
        assert lines[0].startswith("forksocks ")
        assert re.match(r"alice +127\.0\.0\.1 +localhost:\d+ .* [\d.]+s?/[\d.]+s?$", min(lines[5:8])), lines

        def is_moving() -> bool:
            clients["bob"].exchange(bytes(50_000))
            return bool(re.search(r"bob .* \d+\.?\d* [KM] +\d+\.?\d* [KM] ", screen.text()))

        assert eventually(is_moving)
        assert eventually(lambda: re.search(r"^up .*/s +[▁-█]+ .* in all", screen.text(), re.M))
        screen.resize(200, 60)
        screen.expect("ID  ", "staff", "tunnel", "ended  ", "peak", "listeners")
        assert len(screen.lines()) == 60
        (found,) = objects(folder, "show", "tunnels", "user=carol")
        screen.expect(found["id"])
        screen.resize(20, 5)
        screen.expect("at least 40x8")
        screen.resize(100, 30)
        screen.expect(*USERS, "IDLE")
        screen.expect_gone("at least")
        screen.press("q")
        screen.expect("status 0")
        screen.expect_gone("running")  # the terminal is as it was


def test_keys(folder: Path, clients: Mapping[str, Client], echo: Origin) -> None:
    with top(folder, "--sort", "user") as screen:
        assert eventually(lambda: rows(screen, *USERS) == ["alice", "bob", "carol"]), screen.text()
        screen.press("r")
        assert eventually(lambda: rows(screen, *USERS) == ["carol", "bob", "alice"]), screen.text()
        screen.press("/")
        screen.expect("filter:")
        screen.type("bob")
        screen.press("Enter")
        assert eventually(lambda: rows(screen, *USERS) == ["bob"]), screen.text()
        screen.expect("1 by user", "text=bob")
        screen.press("Escape")
        screen.expect("alice")
        screen.press("f")
        screen.expect("FROZEN")
        clients["alice"].sock.close()
        assert eventually(lambda: len(objects(folder, "show", "tunnels")) == 2)
        assert "alice" in screen.text()
        screen.press("f")
        screen.expect_gone("alice")
        screen.expect_gone("FROZEN")
        screen.press("Down", "k")  # from carol to bob
        screen.expect("end w", "of bob to localhost", "y/n")
        screen.press("n")
        screen.expect("nothing was ended")
        assert clients["bob"].exchange(b"hello") == b"hello"
        screen.press("k")
        screen.expect("y/n")
        screen.press("y")
        screen.expect("ended w")
        assert eventually(lambda: rows(screen, "bob", "carol") == ["carol"]), screen.text()
        with pytest.raises((EOFError, OSError)):
            clients["bob"].exchange(b"hello")
        assert clients["carol"].exchange(b"hello") == b"hello"
        for key, words in {"w": "WORKER", "l": "LISTENER", "u": "USER", "c": "CLIENT"}.items():
            screen.press(key)
            screen.expect(words, "ACCEPTED" if key in "wl" else "OLDEST")
        screen.press("q")
        screen.expect("status 0")


def test_it_goes_on_when_the_server_does_and_leaves_by_a_signal(
    folder: Path, clients: Mapping[str, Client], served: Server
) -> None:
    with top(folder, "--no-color", size=(100, 24)) as screen:
        screen.expect("generation 1", *USERS)
        assert not COLOUR.search("\n".join(screen.lines(with_styles=True)))
        ctl(folder, "reload", "--wait")
        screen.expect("generation 2", *USERS)  # tunnels of workers that drain are shown too
        for pid in [pid for pid in served.pids if pid not in served.workers]:
            with contextlib.suppress(ProcessLookupError):
                if b"forksocks: admin" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        clients["alice"].sock.close()
        screen.expect_gone("alice")
        for client in clients.values():
            client.sock.close()
        served.stop()
        screen.expect("no server answers")
        screen.press("C-c")
        screen.expect("status 0")


def test_colours_and_a_terminal_without_utf_8(folder: Path, clients: Mapping[str, Client]) -> None:
    with top(folder) as screen:
        screen.expect(*USERS)
        assert COLOUR.search("\n".join(screen.lines(with_styles=True)))
        screen.press("q")
        screen.expect("status 0")
    with top(folder, LC_ALL="POSIX", PYTHONCOERCECLOCALE="0", PYTHONUTF8="0", NO_COLOR="1") as screen:
        screen.expect(*USERS, "3 by rate")
        assert screen.text().isascii()
        assert not COLOUR.search("\n".join(screen.lines(with_styles=True)))
        screen.press("q")
        screen.expect("status 0")


def test_without_a_terminal(folder: Path, clients: Mapping[str, Client]) -> None:
    assert b"needs a terminal" in ctl(folder, "top", status=1).err
    found = objects(folder, "top", "user=bob")
    assert [(each["user"], each["rule"], each["up_rate"]) for each in found] == [("bob", "staff", 0.0)]
    assert found[0]["rtt"]["client"] > 0
    assert [each["user"] for each in objects(folder, "top", "--sort", "user")] == list(USERS)
    assert b"FIELD=VALUE" in ctl(folder, "top", "bob", status=2).err
    assert b"--sort" in ctl(folder, "top", "first=5", status=2).err
    assert b"colour" in ctl(folder, "top", "colour=red", "--json", status=1).err
    assert b"no server answers" in ctl(folder / "none", "top", "--json", status=3).err
    with Screen(
        folder, (sys.executable, "-m", "forksocks.ctl", "top", "--socket", f"{folder}/none"), (80, 24)
    ) as screen:
        screen.expect("no server answers", "status 3")
