"""`forksocksctl end` and `show tunnel` against a real server."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import ctl, make_user, objects
from tests.system.server import OBSERVED, Server

CONFIG = (
    OBSERVED
    + """
[auth]
users = "{folder}/users"
[[rule]]
name = "staff"
users = ["alice"]
action = "allow"
[[rule]]
name = "guests"
action = "allow"
"""
)


def started(server: Start, folder: Path) -> Server:
    for name in ("alice", "bob"):
        make_user(folder / "users", name, "secret")
    return server("-v", config=CONFIG.format(folder=folder))


def open_one(served: Server, origin: Origin, user: bytes) -> Client:
    client = Client(served.endpoint)
    client.open(origin.host, origin.port, user, b"secret")
    assert client.exchange(b"hello") == b"hello"
    return client


def is_over(client: Client) -> bool:
    try:
        return client.sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_one_is_ended_by_its_id_and_no_other(server: Start, echo: Origin, tmp_path: Path) -> None:
    served = started(server, tmp_path)
    with open_one(served, echo, b"alice") as alice, open_one(served, echo, b"alice") as other:
        host, port = alice.sock.getsockname()
        (found,) = objects(tmp_path, "show", "tunnels", f"client={host}:{port}")
        said = ctl(tmp_path, "end", found["id"])
        assert said.out.startswith(b"ended 1 tunnel\n")
        assert is_over(alice)
        assert other.exchange(b"hello") == b"hello"
        end = served.wait_for("end", id=found["id"])
        assert (end["cause"], end["up"]) == ("ended-by-admin", "5")
        assert b"no tunnel fits" in ctl(tmp_path, "end", found["id"], status=1).err
        assert b"it may have ended" in ctl(tmp_path, "show", "tunnel", found["id"], status=1).err
        totals = objects(tmp_path, "show", "causes", "cause=ended-by-admin")
        assert [each["sessions"] for each in totals] == [1]


def test_all_of_a_user_or_a_rule_are_ended(server: Start, echo: Origin, tmp_path: Path) -> None:
    served = started(server, tmp_path)
    with (
        open_one(served, echo, b"alice") as alice, open_one(served, echo, b"bob") as bob,
        open_one(served, echo, b"bob") as another,
    ):  # fmt: skip
        assert [each["user"] for each in objects(tmp_path, "show", "tunnels", "rule=staff")] == ["alice"]
        assert len(objects(tmp_path, "end", "user=bob", f"to={echo.host}:{echo.port}")) == 2
        assert is_over(bob)
        assert is_over(another)
        assert alice.exchange(b"hello") == b"hello"
        assert [each["rule"] for each in objects(tmp_path, "end", "rule=staff")] == ["staff"]
        assert is_over(alice)
    for words in (("user=",), ("id=a", "id=b"), ()):
        ctl(tmp_path, "end", *words, status=2)


def test_one_in_every_detail(server: Start, echo: Origin, tmp_path: Path) -> None:
    served = started(server, tmp_path)
    with open_one(served, echo, b"alice") as alice:
        (found,) = objects(tmp_path, "show", "tunnels")
        (whole,) = objects(tmp_path, "show", "tunnel", found["id"])
        assert (whole["rule"], whole["socks"], whole["id"]) == ("staff", 5, found["id"])
        client, target = whole["legs"]["client"], whole["legs"]["target"]
        host, port = alice.sock.getsockname()
        assert client["peer"] == f"{host}:{port}"
        assert target["peer"] == f"{echo.host}:{echo.port}"
        assert client["tcp"]["state"] == target["tcp"]["state"] == "established"
        text = ctl(tmp_path, "show", "tunnel", found["id"]).out.decode()
        assert "rule staff" in text
        assert "round trip" in text
    ctl(tmp_path, "show", "tunnel", status=1)


def test_of_workers_that_drain_and_of_those_that_came_later(
    server: Start, echo: Origin, tmp_path: Path
) -> None:
    """A reload, a death and one worker more: whoever carries a tunnel is reached."""
    served = started(server, tmp_path)
    with open_one(served, echo, b"alice") as alice:
        served.send_signal(signal.SIGHUP)
        served.wait_for("reloaded")
        for pid in processes.workers(served.supervisor).values():
            if pid in {each["pid"] for each in objects(tmp_path, "show", "workers", "draining=False")}:
                os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: len(served.events("child-died")) == 2)
        served.send_signal(signal.SIGTTIN)
        assert eventually(lambda: len(objects(tmp_path, "show", "workers", "ready=True")) == 4)
        with open_one(served, echo, b"bob") as bob:
            assert len(objects(tmp_path, "end", "user=bob")) == 1
            assert is_over(bob)
        assert alice.exchange(b"hello") == b"hello"
        assert len(objects(tmp_path, "end", "user=alice")) == 1
        assert is_over(alice)
