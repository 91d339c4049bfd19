"""SIGUSR2: a new program takes over under load; whatever is wrong with it, the old one serves on."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.system import processes
from tests.system.client import BIND, Client
from tests.system.datagrams import Association, remote
from tests.system.installed import SCRIPT, Installed
from tests.system.load import exchange, knocking, staying
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.server import DEFAULTS, ROOT, Server

CONNECTIONS = 400  # through each of the programs
ENOUGH = 10_000  # connections of which none may fail


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    binds = ["127.0.0.1:0", f"unix:{tmp_path / 'socket'}"]
    with Installed.started(tmp_path, binds, ["--drain", "60s"]) as made:
        yield made
        if made.pidfile.exists():
            made.stop(made.pid)
        assert made.server.process.wait(processes.LONG) == 0
        assert eventually(lambda: not made.server.left()), made.server.left()
        assert not made.server.events("crash")
        assert list(tmp_path.iterdir()) == [made.script], "no pid file and no socket is left"


def sockets(pid: int) -> set[str]:
    """The sockets that a process holds, by inode."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(each))
    return {each for each in found if each.startswith("socket:")}


def test_under_load_nobody_fails_and_no_tunnel_is_cut(installed: Installed, echo: Origin) -> None:
    server = installed.server
    first = installed.pid
    with staying(server.endpoint, echo) as tunnel, knocking(server.endpoint, echo) as load:
        for version in ("2", "3"):
            installed.install(version)
            load.wait_for(CONNECTIONS)
            installed.upgrade()
            started = server.wait_for("started", version=version)
            assert tuple(started["listen"].split(",")) == server.addresses, "port 0 is the same port"
            tunnel.check()
            load.wait_for(CONNECTIONS)
            exchange(str(installed.files / "socket"), echo)
        while load.served < ENOUGH and not load.failed:
            load.wait_for(CONNECTIONS)
        assert load.failed == 0, load.failures
        assert processes.is_alive(first), "it carries the tunnel still"
    assert load.failed == 0, load.failures
    assert eventually(lambda: not processes.is_alive(first))
    exchange(server.endpoint, echo)
    exchange(str(installed.files / "socket"), echo)


def test_only_the_listening_sockets_are_handed_on(installed: Installed, echo: Origin) -> None:
    old = installed.pid
    with staying(installed.server.endpoint, echo):
        before = sockets(old)
        new = installed.upgrade()
        assert len(before & sockets(new)) == len(installed.server.addresses) == 2
        for worker in processes.children(new):
            assert len(before & sockets(worker)) <= 2
        names = Path(f"/proc/{new}/environ").read_bytes().split(b"\0")
        assert b"LISTEN_FDS=3" in names


def test_associations_and_binds_live_on_in_the_old_one(tmp_path: Path, echo: Origin) -> None:
    config = tmp_path / "config"
    config.write_text('[[listen]]\nbind = ["127.0.0.1:0"]\ncommands = ["connect", "bind", "udp"]\n')
    with (
        Installed.started(tmp_path, [], ["--drain", "60s", "-c", str(config)]) as installed,
        remote() as target,
        Client(installed.server.endpoint) as waiting,
    ):
        old = installed.pid
        with Association(installed.server.endpoint) as association:
            answered(association, target)
            waiting.greet()
            bound = waiting.request("127.0.0.1", 0, BIND)
            new = installed.upgrade()
            answered(association, target)
            with socket.create_connection((bound.host, bound.port), processes.LONG) as peer:
                assert waiting.read_reply().code == 0
                peer.sendall(b"hello")
                assert waiting.exactly(5) == b"hello"
            assert processes.is_alive(old)
            exchange(installed.server.endpoint, echo)
        waiting.sock.close()
        assert eventually(lambda: not processes.is_alive(old))
        installed.stop(new)
        assert eventually(lambda: not installed.server.left())


def answered(association: Association, target: socket.socket) -> None:
    """A datagram goes to the target, and one comes back."""
    association.send(b"ask", *target.getsockname())
    data, sender = target.recvfrom(100)
    assert data == b"ask"
    target.sendto(b"answer", sender)
    assert association.receive().payload == b"answer"


def test_another_python_takes_over(
    installed: Installed, echo: Origin, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An interpreter of another installation, which finds the same libraries."""
    home = tmp_path_factory.mktemp("other")
    subprocess.run([sys.executable, "-m", "venv", "--copies", "--without-pip", home], check=True)
    found = "".join(f"sys.path.append({each!r})\n" for each in (str(ROOT), *sys.path) if each)
    script = SCRIPT.replace("{python}", str(home / "bin" / "python")).replace(
        "{before}", f"{{before}}\n{found}"
    )
    with knocking(installed.server.endpoint, echo) as load:
        installed.install("2", script)
        new = installed.upgrade()
        load.wait_for(CONNECTIONS)
    assert load.failed == 0, load.failures
    assert os.readlink(f"/proc/{new}/exe").startswith(str(home))
    exchange(installed.server.endpoint, echo)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("#!/bin/sh\nexit 3\n", "exit status 3"),
        ("#!/bin/sh\nkill -SEGV $$\n", "killed by SIGSEGV"),
        ("#!/nonexistent/python\n", "cannot run .*forksocks: No such file or directory"),
        (SCRIPT.replace("main()", "main(['--threads', '0'])"), "--threads: must be"),
        (SCRIPT.replace("main()", "main([*sys.argv[1:], '192.0.2.1:1'])"), "cannot listen on 192.0.2.1:1"),
    ],
    ids=["exits", "crashes", "is gone", "has another configuration", "cannot bind"],
)
def test_a_new_program_that_fails_leaves_the_old_one(
    installed: Installed, echo: Origin, program: str, why: str
) -> None:
    old, workers = installed.pid, installed.server.workers
    installed.install("2", program)
    assert re.search(why, installed.fail(old))
    assert installed.server.workers == workers
    exchange(installed.server.endpoint, echo)
    installed.install("3")
    installed.upgrade()
    exchange(installed.server.endpoint, echo)


def test_a_new_program_that_hangs_is_ended(tmp_path: Path, echo: Origin) -> None:
    config = tmp_path / "config"
    config.write_text('[server]\nstart_limit = "1s"\n')
    with Installed.started(tmp_path, ["127.0.0.1:0"], ["-c", str(config)]) as installed:
        old = installed.pid
        installed.install("2", "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 0.1; done\n")
        assert installed.fail(old) == "killed by SIGKILL"
        assert installed.server.events("upgrade-late")
        exchange(installed.server.endpoint, echo)
        installed.stop(old)


def test_it_comes_back_when_the_new_one_crashes(installed: Installed, echo: Origin) -> None:
    server = installed.server
    with staying(server.endpoint, echo) as tunnel:
        old = installed.pid
        new = installed.upgrade()
        assert (installed.files / "pid.old").read_text() == f"{old}\n"
        installed.stop(new, signal.SIGKILL)
        assert eventually(lambda: installed.pid == old)
        server.wait_for_workers(2)
        exchange(server.endpoint, echo)
        exchange(str(installed.files / "socket"), echo)
        tunnel.check()
        installed.upgrade()
        exchange(server.endpoint, echo)


def test_it_does_not_come_back_for_one_that_was_followed_itself(tmp_path: Path, echo: Origin) -> None:
    with Installed.started(tmp_path, ["127.0.0.1:0"], ["--drain", "5m"]) as installed:
        server = installed.server
        first = installed.pid
        with staying(server.endpoint, echo) as tunnel:
            middle = installed.upgrade()
            with staying(server.endpoint, echo):
                last = installed.upgrade()
                installed.stop(middle, signal.SIGKILL)
                server.wait_for("successor-ended", pid=middle)
            tunnel.check()
        assert eventually(lambda: not processes.is_alive(first)), "it ends with its last tunnel"
        exchange(server.endpoint, echo)
        installed.stop(last)


def test_it_does_not_come_back_when_it_was_told_to_stop(tmp_path: Path, echo: Origin) -> None:
    with Installed.started(tmp_path, ["127.0.0.1:0"], ["--drain", "5m"]) as installed:
        first = installed.pid
        with staying(installed.server.endpoint, echo):
            new = installed.upgrade()
            os.kill(first, signal.SIGTERM)
            installed.server.wait_for("stopping")
            installed.stop(new, signal.SIGKILL)
            installed.server.wait_for("successor-ended")
        assert installed.server.process.wait(processes.LONG) == 0
        assert not installed.server.events("reload-failed")


def test_the_steps_by_hand(installed: Installed, echo: Origin) -> None:
    """Both serve; the new one is not liked and ends; the old one goes on."""
    server = installed.server
    with staying(server.endpoint, echo) as tunnel:
        old, new = installed.pid, installed.upgrade()
        os.kill(old, signal.SIGHUP)
        server.wait_for("reloaded", generation=2)
        with knocking(server.endpoint, echo) as load:
            os.kill(old, signal.SIGWINCH)
            assert eventually(lambda: len(server.generations) == 1), "but for the tunnel's worker"
            os.kill(old, signal.SIGHUP)
            server.wait_for("reloaded", generation=3)
            installed.stop(new)
            load.wait_for(200)
        assert load.failed == 0, load.failures
        assert eventually(lambda: installed.pid == old)
        tunnel.check()


def test_sigusr2_twice_and_sighup_meanwhile(installed: Installed, echo: Origin) -> None:
    server = installed.server
    old = installed.pid
    os.kill(old, signal.SIGUSR2)
    new = int(server.wait_for("upgrading")["pid"])
    os.kill(new, signal.SIGSTOP)
    os.kill(old, signal.SIGHUP)
    os.kill(old, signal.SIGUSR2)
    refused = server.wait_for("upgrade-refused")
    assert refused["error"] == f"process {new} is about to take over"
    assert not server.events("reloaded"), "which file did the new program read?"
    os.kill(new, signal.SIGCONT)
    server.wait_for("took-over", pid=new)
    server.wait_for("reloaded", generation=2)
    assert eventually(lambda: {2} == {each for each, _ in processes.workers(new)}), "the new one reloads"
    assert eventually(lambda: not processes.is_alive(old))
    exchange(server.endpoint, echo)


def test_an_upgrade_waits_for_a_reload(installed: Installed, echo: Origin) -> None:
    server = installed.server
    old = installed.pid
    os.kill(old, signal.SIGHUP)
    assert eventually(lambda: server.generations == {1, 2})
    os.kill(old, signal.SIGUSR2)
    server.wait_for("took-over")
    events = [line.split(" ")[1] for line in server.log if " reloaded " in line or " upgrading " in line]
    assert events == ["reloaded", "upgrading"]
    exchange(server.endpoint, echo)


def test_sigterm_meanwhile_ends_both(installed: Installed) -> None:
    old = installed.pid
    os.kill(old, signal.SIGUSR2)
    installed.server.wait_for("upgrading")
    installed.stop(old)
    assert eventually(lambda: not installed.server.left())


def test_a_second_server_does_not_share_the_address(installed: Installed) -> None:
    words = [sys.executable, "-m", "forksocks", installed.server.address]
    second = subprocess.run(words, capture_output=True, text=True, timeout=processes.LONG, check=False)
    assert second.returncode == 1
    assert "another process that shares its ports listens there" in second.stderr


def test_sockets_of_a_service_manager_are_taken_by_name_and_by_address(tmp_path: Path, echo: Origin) -> None:
    path = tmp_path / "socket"
    here = ("127.0.0.1", 0)
    with (
        socket.create_server(here) as one,
        socket.create_server(here) as two,
        socket.socket(socket.AF_UNIX) as three,
    ):
        three.bind(str(path))
        three.listen()
        handed = {"web": one, "other": two, "unit.socket": three}
        binds = ["systemd:web", f"127.0.0.1:{two.getsockname()[1]}", f"unix:{path}"]
        with activated(handed, binds) as server:
            for each in (one.getsockname(), two.getsockname(), str(path)):
                exchange(each, echo)
            server.stop()
        assert path.exists(), "it is not ours"
        with Client(two.getsockname()) as waiting:  # the queue is the service manager's
            waiting.sock.sendall(b"\x05\x01\x00")
            with activated(handed, binds) as server:
                assert waiting.exactly(2) == b"\x05\x00"
                server.stop()


def test_a_name_that_nobody_handed_over(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "forksocks", "systemd:web"]
    found = subprocess.run(words, capture_output=True, text=True, timeout=processes.LONG, check=False)
    assert found.returncode == 1
    assert "cannot listen on systemd:web: nobody handed us a socket of that name" in found.stderr


def test_ipv4_through_a_socket_of_both_families_is_ipv4(tmp_path: Path, echo: Origin) -> None:
    config = tmp_path / "config"
    config.write_text(
        '[[rule]]\nname = "not-them"\nclients = ["127.0.0.0/8"]\naction = "deny"\n'
        '[[rule]]\nname = "rest"\naction = "allow"\n'
    )
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as both:
        port = both.getsockname()[1]
        with activated({"both": both}, ["-c", str(config), "systemd:both"]) as server:
            with Client(("127.0.0.1", port)) as client:
                client.greet()
                assert client.request(echo.host, echo.port).code == 2
                here, source = client.sock.getsockname()
            server.wait_for("end", rule="not-them", client=f"{here}:{source}")
            exchange(("::1", port), echo)
            server.stop()


@contextlib.contextmanager
def activated(handed: Mapping[str, socket.socket], binds: Sequence[str]) -> Iterator[Server]:
    """A server that is started as systemd starts one: sockets from 3 on, and words about them."""
    starter = (
        "import fcntl, os, sys\n"
        "numbers = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 100) for each in sys.argv[1].split(',')]\n"
        "for number, each in enumerate(numbers, 3):\n"
        "    os.dup2(each, number)\n"
        "names = {'LISTEN_FDNAMES': sys.argv[2], 'LISTEN_PID': str(os.getpid())}\n"
        "names['LISTEN_FDS'] = str(len(numbers))\n"
        "words = [sys.executable, '-m', 'forksocks', *sys.argv[3:]]\n"
        "os.execve(sys.executable, words, {**os.environ, **names})\n"
    )
    numbers = [sock.fileno() for sock in handed.values()]
    flags = [word for pair in DEFAULTS.items() for word in pair] + ["-v"]
    flags += ["--user", "root"] if os.geteuid() == 0 else []
    words = [sys.executable, "-c", starter, ",".join(map(str, numbers)), ":".join(handed), *flags, *binds]
    with Server(words, pass_fds=numbers) as server:
        server.wait_until_started()
        yield server
