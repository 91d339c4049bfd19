"""Squid's own basic authentication helpers, from Debian's squid, check passwords for a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.machine import free_port
from tests.system import directories
from tests.system.client import PASSWORD, Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import children, eventually, is_alive, title
from tests.system.programs import run
from tests.system.server import ROOT, Server, environment

SQUID = "/usr/lib/squid"
RIGHT, WRONG = 0, 1


def configuration(command: Sequence[str], **settings: object) -> str:
    """A file with a helper; `settings` are further keys of [helper], in TOML."""
    words = ", ".join(f"'{word}'" for word in command)
    keys = "".join(f"{key} = {value}\n" for key, value in {"processes": 2, **settings}.items())
    return (
        f'[server]\nworkers = 2\ndrain = "5s"\n[[listen]]\nbind = ["127.0.0.1:0"]\n'
        f'[access]\nallow_to = ["@loopback"]\n[helper]\ncommand = [{words}]\n{keys}[log]\nlevel = "info"\n'
    )


def log_in(server: Server, user: bytes, password: bytes) -> int:
    with Client(server.endpoint) as client:
        assert client.greet(PASSWORD) == PASSWORD
        return client.authenticate(user, password)


def helpers(server: Server) -> list[int]:
    """The processes of the helper."""
    return [pid for pid in children(server.supervisor) if not title(pid).startswith("forksocks")]


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    path = tmp_path / "htpasswd"
    run("htpasswd", "-b", "-c", str(path), "alice", "correct horse")
    run("htpasswd", "-b", str(path), "bob", "p:@/%41\u00e9")
    return path


def test_basic_ncsa_auth(server: Start, echo: Origin, htpasswd: Path) -> None:
    started = server(config=configuration([f"{SQUID}/basic_ncsa_auth", str(htpasswd)]))
    with Client(started.endpoint) as client:
        client.open(echo.host, echo.port, b"alice", b"correct horse")
        assert client.exchange(b"hello") == b"hello"
    started.wait_for("end", user="alice", reply=0)
    assert log_in(started, b"bob", "p:@/%41\u00e9".encode()) == RIGHT
    for user, password in (
        (b"alice", b"wrong horse"), (b"alice", b"p:@/%41\xc3\xa9"), (b"mallory", b"correct horse"),
        (b"alice correct horse", b"x"), (b"x\nalice", b"correct horse"), (b"alice", b"correct horse\0"),
    ):  # fmt: skip
        assert log_in(started, user, password) == WRONG, (user, password)
    started.wait_for("end", user="mallory", cause="auth-failed")
    assert not [line for line in started.log if "horse" in line.replace("alice correct horse", "")]


def test_basic_ldap_auth_with_a_real_directory(server: Start, tmp_path: Path) -> None:
    with directories.ldap(tmp_path / "ldap", {"alice": "secret", "bob": "p w"}) as port:
        words = [f"{SQUID}/basic_ldap_auth", "-v", "3", "-b", directories.LDAP_BASE, "-f", "(uid=%s)"]
        started = server(config=configuration([*words, "-h", "127.0.0.1", "-p", str(port)], timeout="'20s'"))
        assert log_in(started, b"alice", b"secret") == RIGHT
        assert log_in(started, b"bob", b"p w") == RIGHT
        for user, password in ((b"alice", b"p w"), (b"carol", b"secret"), (b"*", b"secret"), (b"a*", b"x")):
            assert log_in(started, user, password) == WRONG


def test_basic_radius_auth(server: Start, tmp_path: Path) -> None:
    secret = tmp_path / "radius.conf"
    with directories.radius(b"shared", {b"alice": b"secret"}) as port:
        secret.write_text(f"server 127.0.0.1\nport {port}\nsecret shared\n")
        words = [f"{SQUID}/basic_radius_auth", "-f", str(secret)]
        started = server(config=configuration(words, timeout="'20s'"))
        assert log_in(started, b"alice", b"secret") == RIGHT
        assert log_in(started, b"alice", b"Secret") == WRONG
        assert log_in(started, b"bob", b"secret") == WRONG


# What `openssl passwd -6` makes of "secret horse"; carol's account has expired on the second day of 1970.
SHADOW = """\
alice:{hash}:20000:0:99999:7:::
carol:{hash}:20000:0:99999:7::1:
locked:!{hash}:20000:0:99999:7:::
""".format(
    hash="$6$forksocks$S2lU.BfSiw8ylQ3KCvpNwZXnCjB.QAmduQvtuGuSOwajHLCgve.sVeFR.yOx4fSkdLbIr5roByfYPq0.47SLU."
)
UNIX = "auth required pam_unix.so nodelay\naccount required pam_unix.so\n"


def test_basic_pam_auth_with_accounts(server: Start, echo: Origin, tmp_path: Path) -> None:
    """Accounts of a mount namespace, which the machine does not have."""
    words = [f"{SQUID}/basic_pam_auth", "-n", "forksocks"]
    text = configuration(words, timeout="'20s'", user="'root'")
    started = server(config=text, inside=directories.accounts(tmp_path / "etc", SHADOW, UNIX))
    with Client(started.endpoint) as client:
        client.open(echo.host, echo.port, b"alice", b"secret horse")
        assert client.exchange(b"hello") == b"hello"
    for user, password in (
        (b"alice", b"Secret horse"), (b"mallory", b"secret horse"), (b"root", b"secret horse"),
        (b"carol", b"secret horse"), (b"locked", b"secret horse"), (b"alice", b"secret"),
    ):  # fmt: skip
        assert log_in(started, user, password) == WRONG, (user, password)
    started.wait_for("end", user="locked", cause="auth-failed")


def test_a_directory_that_is_down_is_no_wrong_password(server: Start, tmp_path: Path) -> None:
    """Who bans addresses for wrong passwords must not ban everybody when the directory is away."""
    words = [f"{SQUID}/basic_ldap_auth", "-v", "3", "-b", "dc=x", "-h", "127.0.0.1"]
    words += ["-p", str(free_port())]
    started = server(config=configuration(words, timeout="'20s'"))
    assert log_in(started, b"alice", b"secret") == WRONG
    end = started.wait_for("end", user="alice")
    assert end["cause"] in ("auth-unavailable", "auth-failed")  # this helper says ERR, some versions BH


def counting(tmp_path: Path, answer: str = "OK") -> list[str]:
    """A helper that says on standard error whom it was asked for."""
    script = tmp_path / "counting"
    script.write_text(f'while read -r name password; do echo "asked for $name" >&2; echo "{answer}"; done\n')
    return ["/bin/sh", str(script)]


def asked(server: Server, user: str) -> int:
    return len(server.events("helper-says", text=f"asked for {user}"))


def test_what_was_right_is_remembered_for_a_while_and_what_was_wrong_is_not(
    server: Start, tmp_path: Path
) -> None:
    started = server(config=configuration(counting(tmp_path)))
    for _ in range(8):  # over both workers
        assert log_in(started, b"alice", b"x") == RIGHT
    assert log_in(started, b"bob", b"x") == RIGHT
    started.wait_for("helper-says", text="asked for bob")
    assert asked(started, "alice") == 1
    started.send_signal(signal.SIGHUP)
    started.wait_for("reloaded")
    assert log_in(started, b"alice", b"x") == RIGHT
    assert eventually(lambda: asked(started, "alice") == 2)


@pytest.mark.parametrize(("answer", "status"), [("OK", RIGHT), ("ERR", WRONG), ("BH", WRONG)])
def test_what_is_not_to_be_remembered_is_asked_every_time(
    server: Start, tmp_path: Path, answer: str, status: int
) -> None:
    started = server(config=configuration(counting(tmp_path, answer), remember="'0s'"))
    for _ in range(3):
        assert log_in(started, b"alice", b"x") == status
    assert eventually(lambda: asked(started, "alice") == 3)


def test_helpers_live_and_die_with_their_agent(server: Start, tmp_path: Path) -> None:
    started = server(config=configuration(counting(tmp_path), remember="'0s'"))
    assert eventually(lambda: len(helpers(started)) == 2)
    before = helpers(started)
    agent = started.lookup
    assert agent
    os.kill(agent, signal.SIGKILL)
    assert eventually(lambda: not any(map(is_alive, before)))
    assert eventually(lambda: len(helpers(started)) == 2 and started.lookup not in (None, agent))
    assert log_in(started, b"alice", b"x") == RIGHT
    os.kill(helpers(started)[0], signal.SIGKILL)
    started.wait_for_log("child-died child=.helper")
    assert eventually(lambda: len(helpers(started)) == 2)
    assert log_in(started, b"bob", b"x") == RIGHT


def test_a_reload_changes_the_helpers(server: Start, tmp_path: Path) -> None:
    started = server(config=configuration(counting(tmp_path), remember="'0s'"))
    before = helpers(started)
    assert log_in(started, b"alice", b"x") == RIGHT
    (tmp_path / "forksocks.toml").write_text(configuration(counting(tmp_path, "ERR"), processes=1))
    started.send_signal(signal.SIGHUP)
    started.wait_for("reloaded")
    assert log_in(started, b"alice", b"x") == WRONG
    assert eventually(lambda: not any(map(is_alive, before)))
    assert eventually(lambda: len(helpers(started)) == 1)  # `before` may have been before the second


def test_a_helper_that_cannot_run_keeps_the_server_from_starting(tmp_path: Path) -> None:
    config = tmp_path / "f.toml"
    config.write_text(configuration(["/bin/false"]))
    done = subprocess.run(
        [sys.executable, "-m", "forksocks", "-c", str(config)], cwd=ROOT, env=environment(),
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done
    assert b"ended while starting (exit status 1)" in done.stderr
