"""SIGHUP: the next generation, under load; and everything that must leave the one before as it is."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import socket
import stat
from pathlib import Path

import pytest

from forksocks.access.hashes import Parameters, hashed
from tests.machine import free_port
from tests.system import processes
from tests.system.client import Client
from tests.system.conftest import Start
from tests.system.load import exchange, knocking, staying
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import Server

CHEAP = Parameters(memory=8, passes=1, lanes=1)
RELOADS = 20
CONNECTIONS = 2000  # at least, while it reloads
ENOUGH = 10_000  # of which none may fail

UNEXPECTED = """
[[rule]]
name = "shut"
action = "deny"
[[test]]
given = { client = "127.0.0.1", to = "a.example:25" }
expect = "allow"
"""

Endpoint = tuple[str, int]


def configuration(
    *binds: str, auth: str = "none", server: str = "", log: str = "", more: str = "", backlog: int = 4096
) -> str:
    return f"""
[server]
workers = 2
threads = 64
drain = "5s"
user = "{"root" if os.geteuid() == 0 else _user()}"
{server}
[[listen]]
name = "main"
bind = [{", ".join(f'"{bind}"' for bind in binds or ("127.0.0.1:0",))}]
auth = ["{auth}"]
backlog = {backlog}
[access]
allow_to = ["@loopback"]
{more}
[log]
level = "info"
{log}
"""


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "forksocks.toml"


def reload(server: Server) -> int:
    """Reload and wait until the next generation serves; return its number."""
    before = len(server.events("reloaded"))
    server.send_signal(signal.SIGHUP)
    assert eventually(lambda: len(server.events("reloaded")) > before)
    return int(server.events("reloaded")[-1]["generation"])


def refuse(server: Server, event: str) -> str:
    """Reload what must be refused; return why."""
    before = len(server.events(event))
    pids = set(server.pids)
    server.send_signal(signal.SIGHUP)
    assert eventually(lambda: len(server.events(event)) > before), event
    # Those of the refused one have no title yet when they are told to end: all count, whoever they are.
    same = eventually(lambda: set(server.pids) == pids)
    assert same, "the generation before still serves, with the same processes"
    return str(server.events(event)[before]["error"])


def descriptors(server: Server) -> list[str]:
    """The kinds of what the supervisor holds."""
    held = Path(f"/proc/{server.supervisor}/fd").iterdir()
    names = []
    for each in held:
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            names.append(re.sub(r":.*|-root-\w+", "", os.readlink(each)))
    return sorted(names)


def test_under_load_nobody_fails_and_no_tunnel_is_cut(server: Start, echo: Origin) -> None:
    started = server(config=configuration())
    before = descriptors(started)
    with staying(started.endpoint, echo) as tunnel, knocking(started.endpoint, echo) as load:
        for number in range(2, RELOADS + 2):
            assert reload(started) == number
            load.wait_for(CONNECTIONS // RELOADS)
            tunnel.check()
        while load.served < ENOUGH and not load.failed:
            load.wait_for(CONNECTIONS // RELOADS)
        assert load.failed == 0, load.failures
        assert eventually(lambda: started.generations == {1, RELOADS + 1}), "all but the tunnel's have ended"
        assert len(started.workers) == 2
    assert load.failed == 0, load.failures
    assert eventually(lambda: started.generations == {RELOADS + 1}), "the tunnel's worker ends with it"
    assert eventually(lambda: descriptors(started) == before), "no descriptor stays behind"


def test_errors_are_told_one_a_line_and_change_nothing(server: Start, echo: Origin, file: Path) -> None:
    started = server(config=configuration())
    file.write_text(configuration(server="threds = 5", log='to = "nowhere"'))
    refuse(started, "reload-refused")
    assert [line["error"].partition(": ")[2] for line in started.events("reload-refused")] == [
        '[server] unknown key "threds"; did you mean "threads"?',
        '[log] to must be "stderr", "syslog" or "file:/path", not "nowhere"',
    ]
    file.write_text(configuration() + "[[")
    assert "is not TOML" in refuse(started, "reload-refused")
    file.write_text(configuration() + UNEXPECTED)
    assert "expected allow, got deny shut: anyone from 127.0.0.1 to a.example:25" in refuse(
        started, "reload-refused"
    )
    file.unlink()
    assert "cannot be read" in refuse(started, "reload-refused")
    exchange(started.endpoint, echo)
    file.write_text(configuration(server='relay = "copy"'))
    assert reload(started) == 2, "a refused file was no generation"
    assert started.events("reloaded")[0]["changed"] == "server.relay"
    exchange(started.endpoint, echo)


def test_users_that_cannot_be_read_change_nothing(server: Start, echo: Origin, file: Path) -> None:
    users = file.parent / "users"
    users.write_bytes(b"alice:" + hashed(b"secret", CHEAP) + b"\n")
    users.chmod(0o600)
    config = configuration(auth="password", more=f'[auth]\nusers = "{users}"')
    started = server(config=config)
    others = file.parent / "others"
    file.write_text(config.replace(str(users), str(others)))
    assert "others" in refuse(started, "reload-failed")
    others.write_bytes(b"bob:" + hashed(b"secret", CHEAP) + b"\nhalf a li")
    others.chmod(0o600)
    assert "others" in refuse(started, "reload-failed")
    exchange(started.endpoint, echo, b"alice", b"secret")
    others.write_bytes(b"bob:" + hashed(b"secret", CHEAP) + b"\n")
    reload(started)
    exchange(started.endpoint, echo, b"bob", b"secret")
    with Client(started.endpoint) as client:
        client.greet(2)
        assert client.authenticate(b"alice", b"secret") != 0


def test_what_asked_for_passwords_is_not_opened(server: Start, echo: Origin, file: Path) -> None:
    users = file.parent / "users"
    users.write_bytes(b"alice:" + hashed(b"secret", CHEAP) + b"\n")
    users.chmod(0o600)
    started = server(config=configuration(auth="password", more=f'[auth]\nusers = "{users}"'))
    file.write_text(configuration())
    assert "would no longer ask for a password" in refuse(started, "reload-refused")
    exchange(started.endpoint, echo, b"alice", b"secret")
    file.write_text(configuration(more="open_proxy = true"))
    reload(started)
    exchange(started.endpoint, echo)


def test_listeners_come_go_and_change(server: Start, echo: Origin, file: Path) -> None:
    first, second = free_port(), free_port()
    path = file.parent / "socket"
    started = server(config=configuration(f"127.0.0.1:{first}", f"unix:{path}"))
    with staying(str(path), echo) as tunnel:
        file.write_text(configuration(f"127.0.0.1:{first}", f"127.0.0.1:{second}", backlog=17))
        reload(started)
        exchange(("127.0.0.1", second), echo)
        exchange(("127.0.0.1", first), echo)
        tunnel.check()
        assert not path.exists()
        file.write_text(configuration(f"127.0.0.1:{second}", f"unix:{path}"))
        reload(started)
        exchange(str(path), echo)
        assert stat.S_ISSOCK(path.lstat().st_mode)
        with pytest.raises(ConnectionRefusedError):
            eventually(lambda: Client(("127.0.0.1", first)).sock.close(), 20)
        file.write_text(configuration(f"0.0.0.0:{second}"))
        reload(started)
        assert eventually(lambda: started.generations == {1, 4})
        exchange(("127.0.0.1", second), echo)
        exchange(("127.0.0.9", second), echo)


def test_an_address_that_stays_keeps_its_queue(server: Start, echo: Origin, file: Path) -> None:
    """A client that came before the reload and was not yet accepted is served after it."""
    port = free_port()
    started = server(config=configuration(f"127.0.0.1:{port}"))
    stopped = started.workers
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    assert eventually(lambda: all(processes.is_stopped(pid) for pid in stopped))
    with Client(started.endpoint) as client:
        client.sock.sendall(b"\x05\x01\x00")
        reload(started)
        assert client.exactly(2) == b"\x05\x00"
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    assert eventually(lambda: started.generations == {2})


def test_an_address_that_gives_way_to_a_wider_one_loses_nobody(
    server: Start, echo: Origin, file: Path
) -> None:
    """And back: who waits at the old socket in the moment of its close would be reset."""
    port = free_port()
    narrow, wide = (configuration(f"{host}:{port}") for host in ("127.0.0.1", "0.0.0.0"))
    started = server(config=narrow)
    with knocking(started.endpoint, echo) as load:
        for turn in range(RELOADS // 2):
            file.write_text(narrow if turn % 2 else wide)
            reload(started)
            load.wait_for(CONNECTIONS // RELOADS)
    assert load.failed == 0, load.failures


def test_an_address_that_another_program_has_too_is_left_to_it(
    server: Start, echo: Origin, file: Path
) -> None:
    """The new program after an upgrade serves both; the old one, which drains, is told to give one up."""
    one, other = free_port(), free_port()
    started = server(config=configuration(f"127.0.0.1:{one}", f"127.0.0.1:{other}"))
    with Client(started.endpoint) as client:
        client.open(echo.host, echo.port)
        started.send_signal(signal.SIGUSR2)
        new = int(started.wait_for("took-over")["pid"])
        try:
            file.write_text(configuration(f"127.0.0.1:{one}"))
            started.send_signal(signal.SIGHUP)
            assert eventually(lambda: started.generations > {1})
            started.send_signal(signal.SIGHUP)
            started.wait_for("reloaded", listen=f"127.0.0.1:{one}")
            for _ in range(8):
                exchange(("127.0.0.1", other), echo)
        finally:
            os.kill(new, signal.SIGTERM)
    assert eventually(lambda: not processes.is_alive(new))


def test_an_address_of_somebody_else_changes_nothing(server: Start, echo: Origin, file: Path) -> None:
    started = server(config=configuration())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file.write_text(configuration("127.0.0.1:0", f"127.0.0.1:{port}"))
        assert f"cannot listen on 127.0.0.1:{port}" in refuse(started, "reload-refused")
    exchange(started.endpoint, echo)


def test_many_at_once_collapse_and_the_last_file_counts(server: Start, file: Path) -> None:
    started = server(config=configuration())
    for threads in range(100, 150):
        file.write_text(configuration().replace("threads = 64", f"threads = {threads}"))
        started.send_signal(signal.SIGHUP)
    assert eventually(lambda: any("/149 connections" in processes.title(pid) for pid in started.workers))
    assert len(started.events("reloaded")) < 50
    assert eventually(lambda: len(started.generations) == 1)
    assert len(started.workers) == 2


def test_keys_that_need_another_program_are_named(server: Start, file: Path) -> None:
    started = server(config=configuration())
    file.write_text(configuration(server=f'pidfile = "{file.parent / "pid"}"'))
    reload(started)
    assert started.events("reload-ignores")[0]["keys"] == "server.pidfile"
    assert not (file.parent / "pid").exists()


def test_the_log_goes_where_the_file_says(server: Start, echo: Origin, file: Path) -> None:
    started = server(config=configuration())
    log = file.parent / "log"
    file.write_text(configuration(log=f'to = "file:{log}"'))
    started.send_signal(signal.SIGHUP)
    assert eventually(lambda: log.exists() and "reloaded generation=2" in log.read_text())
    exchange(started.endpoint, echo)
    assert eventually(lambda: "cause=client-closed" in log.read_text())
    log.rename(file.parent / "log.1")
    started.send_signal(signal.SIGHUP)
    assert eventually(lambda: log.exists() and "reloaded generation=3" in log.read_text())
    file.write_text(configuration())
    started.send_signal(signal.SIGHUP)
    started.wait_for("reloaded", generation=4)


def test_sigterm_during_a_reload_ends_both_generations(server: Start, file: Path) -> None:
    started = server(config=configuration())
    started.send_signal(signal.SIGHUP)
    started.stop()
