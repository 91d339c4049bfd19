"""A machine of one's own: its network, its /etc, its DNS, and a whole internet on the other end of its cable.

`Island` needs no privilege (user namespaces); nothing that happens on it leaves it. Two processes live in
its two network namespaces, `home` and `internet`, and hand out sockets: a socket belongs for good to the
namespace in which it was made, so that a test can connect, listen and answer there from its own process.

`home` has HOME_V4 and HOME_V6 and sends everything else to `internet`, which answers as every address that
there is, private and reserved ones too (AnyIP): what is dialled is reached, and seen.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.system import dns
from tests.system.processes import LONG, eventually

ROOT = Path(__file__).parents[2]
HOME_V4, HOME_V6 = "93.184.216.1", "2a00:1450::1"
NEXT_V4, NEXT_V6 = "93.184.216.34", "2a00:1450::34"  # the other end of the cable, and the way to all others
HOSTNAME = "island"
# Names are asked for as they are, once; a name server that is silent is given up after a second.
RESOLV_CONF = "nameserver 127.0.0.1\nsearch .\noptions timeout:5 attempts:1\n"
_HOME_MAC, _NEXT_MAC = "02:00:00:00:00:01", "02:00:00:00:00:34"

# What a server and the programs of these tests look for in /etc beyond what `_make_etc` writes.
_MOST = 16_000  # characters of what a program wrote
_KEPT = ("passwd", "group", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "protocols", "services")


class Machine:
    """One network namespace and the process in it, `pid`; `enter` are words that begin a command there.

    around: a machine whose users and files it shares; without one it gets its own.
    """

    def __init__(self, around: Machine | None = None) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.settimeout(LONG)
        unshare = ("unshare", "-rnm") if around is None else (*around.enter, "unshare", "-n")
        with theirs:
            self._process = subprocess.Popen(
                [*unshare, "--", sys.executable, "-m", "tests.system.island", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                cwd=ROOT,
            )
        self.pid = self._process.pid
        self.enter: list[str] = f"nsenter -t {self.pid} --preserve-credentials -U -n -m --wd --".split()
        assert self._line.recv(64) == b'"ready"', "no namespaces: are user namespaces allowed?"

    def run(self, *words: str, text: str = "") -> str:
        """Run a program and return what it wrote; one that fails fails the test."""
        self._line.send(json.dumps(["run", text, *words]).encode())
        status, out = json.loads(self._line.recv(1 << 20))
        assert status == 0, f"{words}: {out}"
        assert isinstance(out, str)
        return out

    def ip(self, *commands: str) -> None:
        """Run `ip COMMAND` for each."""
        self.run("ip", "-batch", "-", text="\n".join(commands))

    def has(self, address: str) -> bool:
        """Whether an address is this machine's own."""
        return self.run("ip", "route", "get", address).startswith("local")

    def set(self, name: str, value: object) -> None:
        """Write a file of /proc/sys/net, `ipv4/ip_default_ttl`."""
        self.run("tee", f"/proc/sys/net/{name}", text=str(value))

    def make_socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """Make a socket in this machine's network."""
        self._line.send(json.dumps(["socket", family, kind]).encode())
        _, descriptors, _, _ = socket.recv_fds(self._line, 64, 1)
        return socket.socket(fileno=descriptors[0])

    def listen(self, host: str, port: int = 0, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """Listen on an address, or bind a datagram socket to it."""
        sock = self.make_socket(_family(host), kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(1024)
        return sock

    def connect(self, host: str, port: int, source: str | None = None) -> socket.socket:
        """Connect to an address, from one of this machine's own if `source` says which."""
        sock = self.make_socket(_family(host))
        sock.settimeout(LONG)
        if source is not None:
            sock.bind((source, 0))
        sock.connect((host, port))
        return sock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, and the namespace with it once its sockets are closed."""
        self._line.close()
        self._process.wait(LONG)


class Island:
    """Both machines, joined; a context manager. folder: where home's /etc is made.

    dns: home's name server, which tests tell what there is.
    """

    def __init__(self, folder: Path) -> None:
        self.etc = folder / "etc"
        _make_etc(self.etc)
        with contextlib.ExitStack() as stack:
            self.home = stack.enter_context(Machine())
            self.home.run("mount", "--bind", str(self.etc), "/etc")
            self.internet = stack.enter_context(Machine(self.home))
            self._join()
            port = self.home.listen("127.0.0.1", 53, socket.SOCK_DGRAM)
            self.dns = stack.enter_context(dns.answering(port, self.home.listen("127.0.0.1", 53)))
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _join(self) -> None:
        home, internet = self.home, self.internet
        for machine in (home, internet):
            machine.set("ipv6/conf/default/dad_transmits", 0)  # addresses that can be used at once
        home.ip(
            "link set lo up",
            f"link add cable address {_HOME_MAC} type veth"
            f" peer name cable address {_NEXT_MAC} netns {internet.pid}",
            f"addr add {HOME_V4}/24 dev cable",
            f"addr add {HOME_V6}/64 dev cable nodad",
            "link set cable up",
            f"neigh add {NEXT_V6} lladdr {_NEXT_MAC} dev cable",  # asking would take a second
        )
        internet.ip(
            "link set lo up",
            f"addr add {NEXT_V4}/24 dev cable",
            f"addr add {NEXT_V6}/64 dev cable nodad",
            "link set cable up",
            f"neigh add {HOME_V6} lladdr {_HOME_MAC} dev cable",
            # In the main table: in the table of local addresses it would make home's address its own.
            "route add local 0.0.0.0/0 dev lo table main",
            "route add local ::/0 dev lo table main",
        )
        home.ip(f"route add default via {NEXT_V4}", f"route add default via {NEXT_V6}")
        for machine, own in ((home, HOME_V6), (internet, NEXT_V6)):  # a new link takes a moment to come up
            assert eventually(partial(machine.has, own))


def _make_etc(folder: Path) -> None:
    """An /etc with the machine's accounts and libraries, and our own idea of names."""
    folder.mkdir(parents=True)
    for name in _KEPT:
        source = Path("/etc", name)
        if source.is_dir():
            shutil.copytree(source, folder / name)
        elif source.exists():
            shutil.copyfile(source, folder / name)
    (folder / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
    (folder / "resolv.conf").write_text(RESOLV_CONF)
    (folder / "hosts").write_text(
        f"127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n{HOME_V4} {HOSTNAME}\n"
    )


def _family(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _serve(line: socket.socket) -> None:
    """Be the process in the namespace: do what is asked until nobody asks any more."""
    line.send(b'"ready"')
    while question := line.recv(1 << 20):
        verb, *words = json.loads(question)
        if verb == "run":
            text, *command = words
            done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
            line.send(json.dumps([done.returncode, (done.stdout + done.stderr)[-_MOST:]]).encode())
        else:
            with socket.socket(*words) as made:
                socket.send_fds(line, [b"+"], [made.fileno()])


def main(arguments: Sequence[str]) -> None:
    """Serve on the descriptor that was inherited."""
    with socket.socket(fileno=int(arguments[0])) as line:
        _serve(line)


if __name__ == "__main__":
    main(sys.argv[1:])
