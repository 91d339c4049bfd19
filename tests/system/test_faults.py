"""What a machine does to a supervisor: no process to be had, descriptors and directories that are gone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from forksocks.host import shortage
from tests.system import injection, processes
from tests.system.conftest import Start
from tests.system.installed import Installed
from tests.system.load import exchange, knocking
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import Server, command


def test_a_fork_that_fails_is_tried_again(server: Start, echo: Origin) -> None:
    started = server()
    victim = started.workers[0]
    with injection.into(started.supervisor, "clone,clone3:error=EAGAIN:when=1..2"):
        os.kill(victim, signal.SIGKILL)
        started.wait_for_workers(2, without=[victim])
    failures = started.events("fork-failed")
    assert [line["error"] for line in failures] == [shortage.LIMITS] * 2
    assert failures[0]["pause"] < failures[1]["pause"], "the pauses grow"
    exchange(started.endpoint, echo)


def test_a_generation_that_dies_at_birth_is_given_up(tmp_path: Path, echo: Origin) -> None:
    """Its processes can start no thread; the generation before does not notice."""
    with Installed.started(tmp_path, ["127.0.0.1:0"]) as installed:
        server = installed.server
        workers = server.workers
        with knocking(server.endpoint, echo, threads=2) as load:
            with injection.into(server.supervisor, "clone3:error=EAGAIN", "-f"):
                server.send_signal(signal.SIGHUP)
                failed = server.wait_for("reload-failed")
                load.wait_for(50)
            assert failed["error"].endswith(f"cannot be started: {shortage.LIMITS}")
            assert failed["kept"] == "generation 1"
            assert eventually(lambda: server.workers == workers)
            server.send_signal(signal.SIGHUP)
            server.wait_for("reloaded")
            load.wait_for(50)
        assert load.failed == 0, load.failures
        assert not server.events("crash")
        installed.stop(server.supervisor)
        assert eventually(lambda: not server.left())


def test_without_standard_descriptors_and_without_a_directory(tmp_path: Path, echo: Origin) -> None:
    """0 to 2 are closed at the start, the umask is odd, and the directory is removed soon after."""
    log, gone, path, pidfile = (tmp_path / name for name in ("log", "gone", "socket", "pid"))
    config = tmp_path / "config"
    config.write_text(f'[log]\nto = "file:{log}"\nlevel = "info"\n')
    gone.mkdir()
    starter = (
        "import os, sys\n"
        "os.chdir(sys.argv[1])\n"
        "os.umask(0o177)\n"
        "os.closerange(0, 3)\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    flags = ["-c", str(config), "--workers", "2", "--allow-to", "@loopback", "--pidfile", str(pidfile)]
    flags += ["--user", "root"] if os.geteuid() == 0 else []
    words = [sys.executable, "-c", starter, str(gone), sys.executable, "-m", "forksocks", *flags]

    def said(event: str) -> bool:
        return log.exists() and f" {event} " in log.read_text()

    with Server([*words, "127.0.0.1:0", f"unix:{path}"], follow=log) as server:
        assert eventually(lambda: said("started"))
        gone.rmdir()
        os.kill(int(pidfile.read_text()), signal.SIGHUP)
        assert eventually(lambda: said("reloaded"))
        exchange(str(path), echo)
        os.kill(int(pidfile.read_text()), signal.SIGUSR2)
        assert eventually(lambda: said("took-over"))
        exchange(str(path), echo)
        new = int(pidfile.read_text())
        assert {os.readlink(f"/proc/{new}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
        os.kill(new, signal.SIGTERM)
        assert eventually(lambda: not server.left())
        assert " crash " not in log.read_text()


def test_whoever_read_the_log_is_gone(echo: Origin) -> None:
    words = command(["-v"], ["127.0.0.1:0"])
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if " started " in line)
            process.stderr.close()
            address = re.search(r"listen=127\.0\.0\.1:(\d+)", line)
            assert address
            for number in (signal.SIGUSR1, signal.SIGHUP):
                exchange(("127.0.0.1", int(address[1])), echo)
                os.kill(process.pid, number)
            assert eventually(lambda: {each for each, _ in processes.workers(process.pid)} == {2})
            os.kill(process.pid, signal.SIGTTIN)
            assert eventually(lambda: len(processes.workers(process.pid)) == 3)
            exchange(("127.0.0.1", int(address[1])), echo)
            process.terminate()
            assert process.wait(processes.LONG) == 0
        finally:
            process.kill()


def test_a_supervisor_that_was_stopped_goes_on(tmp_path: Path, echo: Origin) -> None:
    """Whatever was asked for while it stood still is done when it runs again."""
    with Installed.started(tmp_path, ["127.0.0.1:0"]) as installed:
        server = installed.server
        os.kill(server.supervisor, signal.SIGSTOP)
        assert eventually(lambda: processes.is_stopped(server.supervisor))
        victim = server.workers[0]
        os.kill(victim, signal.SIGKILL)
        assert eventually(lambda: not processes.is_alive(victim))  # and takes no client with it
        for number in (signal.SIGHUP, signal.SIGUSR1):
            server.send_signal(number)
        exchange(server.endpoint, echo)
        os.kill(server.supervisor, signal.SIGCONT)
        server.wait_for("reloaded", generation=2)
        server.wait_for("child-died", pid=victim)
        server.wait_for_workers(2)
        installed.stop(server.supervisor)
        assert eventually(lambda: not server.left())
