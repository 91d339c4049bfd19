"""The init scripts of OpenRC and sysvinit, run by openrc-run, and with start-stop-daemon."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system import processes
from tests.system.booted import PACKAGING, PROGRAMS, Booted, booting, done, refused
from tests.system.client import Client
from tests.system.origins import Origin
from tests.system.processes import eventually

# What openrc(8) makes at boot.
OPENRC_FOLDERS = (
    "daemons", "exclusive", "failed", "hotplugged", "inactive", "options", "scheduled", "started", "starting",
    "stopping", "tmp", "wasinactive",
)  # fmt: skip


def openrc(files: Path, name: str = "forksocks") -> Booted:
    made = Booted(files, f"etc/init.d/{name}", ("--nocolor", "--nodeps"))
    made.install((PACKAGING / "openrc" / "forksocks.initd").read_text())
    for folder in OPENRC_FOLDERS:
        (made.run / "openrc" / folder).mkdir(parents=True)
    (made.run / "openrc" / "softlevel").touch()
    settings = files / "etc" / "conf.d" / name
    settings.parent.mkdir()
    settings.write_text(
        f"forksocks_config={made.config}\nforksocks_user=root\n"
        f"forksocks_command={PROGRAMS / 'forksocks'}\nforksocksctl_command={PROGRAMS / 'forksocksctl'}\n"
    )
    return made


def sysvinit(files: Path) -> Booted:
    made = Booted(files, "init.d/forksocks", mounts={"/etc/default": "default"})
    made.install((PACKAGING / "debian" / "forksocks.init").read_text())
    (files / "default").mkdir()
    (files / "default" / "forksocks").write_text(
        f"DAEMON={PROGRAMS / 'forksocks'}\nCONFIG={made.config}\nDAEMON_OPTS='--user root'\n"
    )
    return made


Boot = Callable[[Path], Booted]


@pytest.fixture(params=[openrc, sysvinit], ids=lambda boot: boot.__name__)
def booted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Booted]:
    boot: Boot = request.param
    with booting(boot(tmp_path)) as made:
        yield made


def carries(client: Client) -> None:
    assert client.exchange(b"hello") == b"hello"


def test_a_life(booted: Booted, echo: Origin) -> None:
    """Every verb once, in the order of a life; a tunnel lives through all but its end."""
    assert "forksocks.toml: ok" in done(booted, "checkconfig")
    refused(booted, "status")
    done(booted, "start")
    done(booted, "status")
    first = booted.pid
    booted.do("start")
    assert booted.pid == first, "there is one already"

    with Client(booted.address) as client:
        client.open(echo.host, echo.port)
        before = booted.generation()
        done(booted, "reload")
        assert eventually(lambda: booted.generation() > before)
        carries(client)

        before = booted.generation()
        done(booted, "force-reload")
        assert eventually(lambda: booted.generation() > before)
        assert booted.pid == first, "it ends nobody"
        carries(client)

        done(booted, "upgrade")
        assert eventually(lambda: booted.pid not in (0, first))
        second = booted.pid
        done(booted, "status")
        carries(client)

    done(booted, "restart")
    assert booted.pid not in (0, first, second)
    assert eventually(lambda: not processes.is_alive(second))
    with Client(booted.address) as client:
        client.open(echo.host, echo.port)
        carries(client)
    last = booted.pid
    done(booted, "stop")
    assert not processes.is_alive(last)
    assert booted.pid == 0
    refused(booted, "status")
    done(booted, "stop")


def test_a_mistake_ends_nobody(booted: Booted) -> None:
    done(booted, "start")
    pid, generation = booted.pid, booted.generation()
    booted.configure("worker = 2")
    for verb in ("checkconfig", "reload", "force-reload", "restart", "upgrade"):
        status, said = booted.do(verb)
        assert 'did you mean "workers"?' in said
        assert status or verb == "restart"  # which openrc-run ends with 0 where it did not stop
        assert processes.is_alive(pid)
        assert (booted.pid, booted.generation()) == (pid, generation)
    booted.configure()
    done(booted, "reload")


def test_it_does_not_start_with_a_mistake(booted: Booted) -> None:
    booted.configure("worker = 2")
    assert 'did you mean "workers"?' in refused(booted, "start")
    assert booted.pid == 0
    refused(booted, "status")


def test_one_that_crashed_is_not_called_running(booted: Booted) -> None:
    done(booted, "start")
    pid = booted.pid
    assert pid, "else it would be our own group"
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not processes.is_alive(pid))
    # Where nobody reaps it kill(2) still finds it: a number of nobody stands for one that is reaped.
    gone = subprocess.Popen(["true"])
    gone.wait()
    (booted.run / "forksocks.pid").write_text(f"{gone.pid}\n")
    refused(booted, "status")
    booted.do("stop")
    done(booted, "start")
    assert booted.pid not in (pid, gone.pid)


@pytest.mark.parametrize("verb", ["checkconfig", "start", "restart"])
def test_nothing_is_in_run_after_a_boot(booted: Booted, verb: str) -> None:
    """Without systemd-tmpfiles(8) or anybody else who makes the folder of the [admin] socket."""
    assert not (booted.run / "forksocks").exists()
    done(booted, verb)
    assert (booted.run / "forksocks").is_dir()
    if verb != "checkconfig":
        assert (booted.run / "forksocks" / "admin.sock").is_socket()
        done(booted, "stop")


@pytest.mark.parametrize("verb", ["reload", "force-reload", "upgrade"])
def test_who_does_not_run_is_not_ordered_about(booted: Booted, verb: str) -> None:
    """An upgrade of the package starts nobody whom the administrator has stopped."""
    status, _ = booted.do(verb)
    assert status or verb == "upgrade"
    assert booted.pid == 0


def test_openrc_tells_what_came_of_it(tmp_path: Path, echo: Origin) -> None:
    with booting(openrc(tmp_path)) as made:
        done(made, "start")
        assert "reloaded: generation 2 serves" in done(made, "reload")
        pid = made.pid
        assert f"process {pid} lets its tunnels finish" in done(made, "upgrade")
        text = made.config.read_text()
        made.config.write_text(text.replace("127.0.0.1:0", f"127.0.0.1:{echo.port}"))
        assert "not reloaded, the server goes on as before" in refused(made, "reload")
        done(made, "stop")


def test_openrc_sends_signals_where_nobody_answers(tmp_path: Path) -> None:
    with booting(openrc(tmp_path)) as made:
        text = made.config.read_text()
        made.config.write_text(text.replace("[admin]\nsocket", "[admin]\n# socket"))
        done(made, "start")
        assert "reloaded" not in done(made, "reload")
        assert eventually(lambda: made.generation() == 2)
        pid = made.pid
        done(made, "upgrade")
        assert eventually(lambda: made.pid not in (0, pid))


def test_openrc_has_instances(tmp_path: Path) -> None:
    """`forksocks.lan` has a pid file of its own, and its configuration beside the first's."""
    folder = tmp_path / "etc" / "forksocks"
    folder.mkdir(parents=True)
    with booting(openrc(tmp_path, "forksocks.lan")) as made:
        settings = tmp_path / "etc" / "conf.d" / "forksocks.lan"
        settings.write_text(settings.read_text().replace(f"forksocks_config={made.config}\n", ""))
        made.name = "forksocks.lan"
        assert "/etc/forksocks/lan.toml" in refused(made, "start")
        settings.write_text(settings.read_text() + f"forksocks_config={made.config}\n")
        done(made, "start")
        assert made.pid
        done(made, "stop")
