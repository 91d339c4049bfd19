"""The proxies that are compared: each started on loopback without authentication, and stopped.

A proxy runs alone, in a session of its own, and is fresh for every section, so that none inherits the state
or suffers the idle threads of another.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Below Linux's ephemeral range, so that no outgoing connection of an earlier run holds one.
PORTS = range(18000, 30000)
START_SECONDS = 10.0
STOP_SECONDS = 5.0

DANTE_CONFIG = """\
logoutput: /dev/null
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.privileged: {user}
user.unprivileged: {user}
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
"""


class BenchError(Exception):
    """Something could not be started or measured; the text says what and why."""


@dataclass(frozen=True)
class Running:
    """A proxy that accepts connections; `pid` and `port` are 0 for none at all."""

    name: str
    pid: int
    port: int


def direct_command(port: int, scratch: Path) -> list[str]:
    """No proxy: the generator talks to the origin."""
    return []


def microsocks_command(port: int, scratch: Path) -> list[str]:
    """Debian's microsocks; what it logs goes to /dev/null."""
    return [program("microsocks"), "-i", "127.0.0.1", "-p", str(port)]


def dante_command(port: int, scratch: Path) -> list[str]:
    """Debian's dante-server, its children growing as it likes."""
    config = scratch / "danted.conf"
    user = pwd.getpwuid(os.geteuid()).pw_name
    config.write_text(DANTE_CONFIG.format(port=port, user=user))
    return [program("danted", "sockd"), "-f", str(config), "-p", str(scratch / "danted.pid")]


def forksocks_command(port: int, scratch: Path) -> list[str]:
    """This checkout with the workers of the floors, and room for every tunnel that is held."""
    flags = ["--workers", "4", "--threads", "4096", "--allow-to", "@loopback"]
    return [sys.executable, "-m", "forksocks", *flags, f"127.0.0.1:{port}"]


def unconfined_command(port: int, scratch: Path) -> list[str]:
    """The same without its sandbox."""
    return [*forksocks_command(port, scratch), "--sandbox", "off"]


COMMANDS: dict[str, Callable[[int, Path], list[str]]] = {
    "direct": direct_command,
    "microsocks": microsocks_command,
    "dante": dante_command,
    "forksocks": forksocks_command,
    "unconfined": unconfined_command,
}
USUAL = [name for name in COMMANDS if name != "unconfined"]


# Knows no UDP ASSOCIATE.
WITHOUT_UDP = frozenset({"microsocks"})


def program(*names: str) -> str:
    """The path of the first of `names` that is installed."""
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin"
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise BenchError(f"{' or '.join(names)} is not installed")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise BenchError(f"no free port in {PORTS}")


@contextlib.contextmanager
def running(name: str, scratch: Path) -> Iterator[Running]:
    """Start the proxy `name`, give it once it accepts connections, end it and its children afterwards."""
    port = free_port()
    command = COMMANDS[name](port, scratch)
    if not command:
        yield Running(name, 0, 0)
        return
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until_it_listens(process, port, command)
        yield Running(name, process.pid, port)
    finally:
        stop(process)


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int, command: list[str]) -> None:
    """Try to connect until it works; raises BenchError when the process ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS).close()
            return
        time.sleep(0.02)
    raise BenchError(f"did not start to listen: {shlex.join(command)}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and after a while kill what is left of its session."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
