"""The rc.d script of the FreeBSD port, and the files beside it.

FreeBSD's rc.subr is emulated (freebsd/rc.subr says what is left out); nothing here has run on FreeBSD itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system import processes
from tests.system.booted import PACKAGING, PROGRAMS, Booted, booting, done, refused
from tests.system.client import Client
from tests.system.origins import Origin
from tests.system.processes import LONG, eventually

PORT = PACKAGING / "freebsd"
EMULATION = Path(__file__).parent / "freebsd" / "rc.subr"
INTERPRETER = (PROGRAMS / "forksocks").read_text().splitlines()[0].removeprefix("#!")


def substituted(name: str, prefix: Path) -> str:
    """A file of the port with what the ports' SUB_FILES puts into it."""
    words = {
        "PREFIX": str(prefix),
        "ETCDIR": str(prefix / "etc" / "forksocks"),
        "PYTHON_CMD": INTERPRETER,
        "FORKSOCKS_USER": "root",
        "FORKSOCKS_GROUP": "root",
    }
    text = (PORT / "files" / name).read_text()
    return re.sub("%%([A-Z_]+)%%", lambda found: words[found[1]], text)


class FreeBSD(Booted):
    """A machine with the port installed, as far as a service sees it."""

    def __init__(self, files: Path) -> None:
        super().__init__(files, "local/etc/rc.d/forksocks")
        self.prefix = files / "local"
        self.etc = files / "etc"
        self.etc.mkdir()
        (self.etc / "rc.subr").write_text(
            EMULATION.read_text().replace("/etc/rc.conf", f"{self.etc}/rc.conf")
        )
        self.install(substituted("forksocks.in", self.prefix).replace("/etc/rc.subr", f"{self.etc}/rc.subr"))
        (self.prefix / "bin").symlink_to(PROGRAMS)
        self.config = self.prefix / "etc" / "forksocks" / "forksocks.toml"
        self.config.parent.mkdir()
        self.configure()
        self.rc_conf()

    def configure(self, more: str = "", run: str = "/var/run") -> None:
        super().configure(more, run)

    def rc_conf(self, *lines: str) -> None:
        """Write /etc/rc.conf."""
        (self.etc / "rc.conf").write_text("\n".join(["forksocks_enable=YES", *lines, ""]))


@pytest.fixture
def freebsd(tmp_path: Path) -> Iterator[FreeBSD]:
    made = FreeBSD(tmp_path)
    with booting(made):
        yield made


def test_a_life(freebsd: FreeBSD, echo: Origin) -> None:
    assert "forksocks.toml: ok" in done(freebsd, "configtest")
    assert "not running" in refused(freebsd, "status")
    assert "Starting forksocks." in done(freebsd, "start")
    first = freebsd.pid
    assert f"forksocks is running as pid {first}." in done(freebsd, "status")
    assert "already running" in refused(freebsd, "start")
    with Client(freebsd.address) as client:
        client.open(echo.host, echo.port)
        assert "reloaded: generation 2 serves" in done(freebsd, "reload")
        assert f"process {first} lets its tunnels finish" in done(freebsd, "upgrade")
        second = freebsd.pid
        assert f"running as pid {second}." in done(freebsd, "status")
        assert client.exchange(b"hello") == b"hello"
    done(freebsd, "restart")
    third = freebsd.pid
    assert third not in (0, first, second)
    assert "Stopping forksocks." in done(freebsd, "stop")
    assert not processes.is_alive(third)
    assert "not running" in refused(freebsd, "stop")


def test_a_mistake_ends_nobody(freebsd: FreeBSD) -> None:
    done(freebsd, "start")
    pid = freebsd.pid
    freebsd.configure("worker = 2")
    for verb in ("configtest", "reload", "restart", "upgrade"):
        assert 'did you mean "workers"?' in refused(freebsd, verb)
        assert processes.is_alive(pid)
        assert (freebsd.pid, freebsd.generation()) == (pid, 1)


def test_without_a_socket_signals_do(freebsd: FreeBSD) -> None:
    text = freebsd.config.read_text()
    freebsd.config.write_text(text.replace("[admin]\nsocket", "[admin]\n# socket"))
    done(freebsd, "start")
    pid = freebsd.pid
    done(freebsd, "reload")
    assert eventually(lambda: freebsd.generation() == 2)
    done(freebsd, "upgrade")
    assert eventually(lambda: freebsd.pid not in (0, pid))


def test_it_waits_until_it_is_enabled(freebsd: FreeBSD) -> None:
    freebsd.rc_conf("forksocks_enable=NO")
    assert "Set forksocks_enable to YES" in done(freebsd, "start")
    refused(freebsd, "status")
    done(freebsd, "onestart")
    done(freebsd, "status")
    done(freebsd, "onestop")
    freebsd.config.unlink()
    assert "is not readable" in refused(freebsd, "onestart")


def test_another_process_with_the_number_of_the_pid_file_is_left_alone(freebsd: FreeBSD) -> None:
    stranger = subprocess.Popen(["/bin/sleep", str(2 * LONG)])
    try:
        (freebsd.run / "forksocks.pid").write_text(f"{stranger.pid}\n")
        assert "not running" in refused(freebsd, "status")
        assert "not running" in refused(freebsd, "stop")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        (freebsd.run / "forksocks.pid").unlink()


def test_a_machine_that_goes_down_waits_for_no_tunnel(freebsd: FreeBSD, echo: Origin) -> None:
    freebsd.configure()
    freebsd.config.write_text(freebsd.config.read_text().replace('"20s"', '"1h"'))
    done(freebsd, "start")
    pid = freebsd.pid
    with Client(freebsd.address) as client:
        client.open(echo.host, echo.port)
        done(freebsd, "faststop")
        assert not processes.is_alive(pid)


def test_profiles_are_servers_of_their_own(freebsd: FreeBSD) -> None:
    lan, wan = (freebsd.config.with_name(f"{name}.toml") for name in ("lan", "wan"))
    for path in (lan, wan):
        text = freebsd.config.read_text().replace("admin.sock", f"{path.stem}.sock")
        path.write_text(text.replace(str(freebsd.log), f"{freebsd.log}.{path.stem}"))
    freebsd.rc_conf('forksocks_profiles="lan wan"', f"forksocks_wan_config={wan}", "forksocks_wan_flags=-v")
    try:
        done(freebsd, "start")
        pids = {name: int((freebsd.run / f"forksocks-{name}.pid").read_text()) for name in ("lan", "wan")}
        assert "reloaded: generation 2 serves" in done(freebsd, "reload", "lan")
        assert "generation 2, " in titles(pids["lan"])
        assert "generation 1, " in titles(pids["wan"])
        wan.write_text("[server]\nworker = 1\n")
        assert "reloaded: generation 3 serves" in refused(freebsd, "reload")
        assert "none of forksocks_profiles" in refused(freebsd, "status", "dmz")
        assert f"running as pid {pids['wan']}" in done(freebsd, "status", "wan")
    finally:
        for freebsd.name in ("forksocks-lan", "forksocks-wan"):
            freebsd.end()


def titles(supervisor: int) -> str:
    return "\n".join(map(processes.title, processes.children(supervisor)))


def test_the_daily_mail_says_what_it_does(freebsd: FreeBSD) -> None:
    script = freebsd.files / "460.status-forksocks"
    freebsd.script, script = script, freebsd.script
    freebsd.install(substituted("460.status-forksocks.in", freebsd.prefix))
    assert freebsd.do() == (0, ""), "it is not asked for"
    text = freebsd.script.read_text().replace(
        ': "${daily_status_forksocks_enable:="NO"}"', "daily_status_forksocks_enable=YES"
    )
    freebsd.install(text)
    status, said = freebsd.do()
    assert (status, "no server answers" in said) == (3, True)
    freebsd.script, script = script, freebsd.script
    done(freebsd, "start")
    freebsd.script = script
    status, said = freebsd.do()
    assert status == 1
    assert "generation" in said


def test_newsyslog_has_the_servers_own_signal(freebsd: FreeBSD) -> None:
    """newsyslog.conf(5): name, owner, mode, count, size, when, flags, pid file, signal."""
    lines = substituted("newsyslog.conf.in", freebsd.prefix).splitlines()
    (entry,) = (line.split() for line in lines if not line.startswith("#"))
    assert len(entry) == 9
    assert entry[7:] == ["/var/run/forksocks.pid", "SIGUSR1"]


def test_the_port_names_what_it_installs() -> None:
    makefile = (PORT / "Makefile").read_text()
    version = subprocess.run(
        [sys.executable, "-c", "import forksocks; print(forksocks.__version__)"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert f"DISTVERSION=\t{version}\n" in makefile
    files = {path.name.removesuffix(".in") for path in (PORT / "files").iterdir()}
    named = set(re.findall(r"^(?:SUB_FILES|USE_RC_SUBR)=\t+(.*)$", makefile, re.MULTILINE))
    assert {word for line in named for word in line.split()} == files
    for line in (PORT / "pkg-plist").read_text().splitlines():
        assert line.split()[-1].split("/")[-1] in makefile, line


def test_the_ports_files_say_only_what_the_makefile_substitutes() -> None:
    """What bsd.port.mk substitutes by itself, and what SUB_LIST and PLIST_SUB add."""
    makefile = (PORT / "Makefile").read_text().replace("\\\n", "")
    known = {"PREFIX", "LOCALBASE", "DATADIR", "DOCSDIR", "EXAMPLESDIR", "WWWDIR", "ETCDIR"}
    for variable, paths in (("SUB_LIST", (PORT / "files").iterdir()), ("PLIST_SUB", [PORT / "pkg-plist"])):
        (value,) = re.findall(rf"^{variable}=(.*)$", makefile, re.MULTILINE)
        added = {word.partition("=")[0] for word in value.split()}
        for path in paths:
            assert set(re.findall("%%([A-Z_]+)%%", path.read_text())) <= known | added, path


def test_the_message_of_the_package_says_what_works(freebsd: FreeBSD) -> None:
    """Its commands in their order, as an administrator types them (but for what asks the internet)."""
    message = substituted("pkg-message.in", freebsd.prefix)
    assert re.findall(r"^[{ ]+type: (\w+)$", message, re.MULTILINE) == ["install", "upgrade"]
    assert message.count("<<EOM\n") == message.count("\nEOM\n") == 2
    assert f"    {freebsd.config}\n" in message
    freebsd.rc_conf("forksocks_enable=NO", *re.findall(r"^    sysrc (.*)$", message, re.MULTILINE))
    verbs = re.findall(r"^    service forksocks (\w+)$", message, re.MULTILINE)
    assert verbs == ["configtest", "start", "upgrade"]
    for verb in verbs:
        done(freebsd, verb)
    done(freebsd, "status")
    users = freebsd.config.with_name("users")
    (words,) = re.findall(r"forksocksctl (passwd .*)$", message, re.MULTILINE)
    assert words == f"passwd {users} NAME"
    forksocksctl = [PROGRAMS / "forksocksctl", *words.split()[:-1], "--stdin", "alice"]
    subprocess.run(forksocksctl, input=b"secret\n", check=True, capture_output=True)
    assert users.read_text().startswith("alice:")
