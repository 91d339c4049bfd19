from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forksocks.host import linux
from forksocks.host.sandbox import calls, seccomp
from forksocks.host.sandbox.calls import Is, Own, Self
from tests.host.sandbox.apart import ROOT, apart, errno_of

SHARED = 500


class Recorder:
    """A module like libseccomp's, which only notes what it is told."""

    ALLOW, KILL_PROCESS, EQ, LT, MASKED_EQ = "allow", "kill", "==", "<", "&"
    Arch = SimpleNamespace(NATIVE=0)
    Attr = SimpleNamespace(ACT_BADARCH="badarch", CTL_TSYNC="tsync", CTL_LOG="log")

    def __init__(self) -> None:
        self.rules: list[tuple[object, ...]] = []
        self.attributes: dict[str, object] = {}

    def SyscallFilter(self, action: object) -> Recorder:
        self.rules.append(("default", action))
        return self

    @staticmethod
    def ERRNO(code: int) -> str:
        return errno.errorcode[code]

    @staticmethod
    def Arg(*words: object) -> tuple[object, ...]:
        return words

    @staticmethod
    def resolve_syscall(_arch: int, name: str) -> int:
        if name == "rseq":
            raise ValueError(name)  # as Debian's module does
        return -1 if name == "statx" else 1  # as pyseccomp does

    def set_attr(self, name: str, value: object) -> None:
        self.attributes[name] = value

    def add_rule(self, action: object, name: str, *tests: object) -> None:
        self.rules.append((action, name, *tests))


def test_a_filter_is_the_table() -> None:
    module: Any = Recorder()
    table = seccomp.build(module, "worker", SHARED)
    assert table.rules[0] == ("default", "ENOSYS")
    assert table.attributes == {"badarch": "kill", "log": 1}
    assert ("allow", "shutdown", (0, "<", SHARED)) in table.rules
    assert ("allow", "kill", (0, "==", os.getpid())) in table.rules
    assert (
        "allow",
        "socket",
        (0, "&", 0xFFFFFFFF, 2),
        (1, "&", 0xFFF7F7FF, 2),
        (2, "&", 0xFFFFFFFF, 17),
    ) in (table.rules)
    assert ("kill", "execve") in table.rules
    leave_by = ("allow", "setsockopt", (0, "<", SHARED), (1, "&", 0xFFFFFFFF, 1), (2, "&", 0xFFFFFFFF, 25))
    assert leave_by not in table.rules
    assert leave_by in seccomp.build(module, "worker", SHARED, calls.BY_INTERFACE).rules
    assert ("EACCES", "openat") in table.rules
    assert not [rule for rule in table.rules if rule[1] in ("rseq", "statx")]


def test_an_agent_may_open_to_read() -> None:
    module: Any = Recorder()
    rules = seccomp.build(module, "lookup", SHARED).rules
    assert {rule[0] for rule in rules if rule[1] == "openat"} == {"allow"}
    assert "EACCES" in {rule[0] for rule in rules if rule[1] == "unlink"}


@pytest.mark.parametrize("role", calls.ALLOWED)
def test_nothing_is_both_allowed_and_fatal(role: str) -> None:
    fatal = {name for name, *_ in calls.FATAL} - {"clone"}
    assert not fatal & {name for name, *_ in (*calls.ALLOWED[role], *calls.DENIED)}


@pytest.mark.parametrize("name", seccomp.MODULES)
def test_the_real_library_takes_it(name: str) -> None:
    """Debian's python3-seccomp belongs to Debian's Python, pyseccomp is in the environment of the tests."""
    python = sys.executable if name == "pyseccomp" else "/usr/bin/python3"
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from forksocks.host.sandbox import seccomp\n"
        f"import {name} as module\n"
        "for role in seccomp.calls.ALLOWED:\n"
        "    table = seccomp.build(module, role, 500)\n"
        "    assert seccomp.number(module, 'no_such_call') == seccomp.UNKNOWN\n"
        "    with open('/dev/null', 'wb') as null: table.export_bpf(null)\n"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_every_name_is_known_on_some_machine() -> None:
    module = seccomp.library()
    rows = (*calls.WORKER, *calls.LOOKUP, *calls.DENIED, *calls.FATAL)
    young = {"fchmodat2", "memfd_secret", "process_mrelease"}  # younger than Debian 12's libseccomp
    assert {name for name, *_ in rows if seccomp.number(module, name) == seccomp.UNKNOWN} <= young


def confined() -> dict[str, int]:
    """Confine this process and do what a worker does and does not do."""
    shared, theirs = socket.socketpair()
    os.dup2(shared.fileno(), SHARED)
    directory = tempfile.mkdtemp()
    os.rmdir(directory)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.restrict("worker", SHARED)
    lifted = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, SHARED)
    started = threading.Thread(target=list)
    started.start()
    started.join()
    one, other = socket.socket(), socket.socket()
    one.bind(("127.0.0.1", 0))
    one.listen()
    other.connect(one.getsockname())
    one.accept()[0].sendall(b"hello")
    return {
        "received": int(other.recv(10) == b"hello"),
        "shutdown": errno_of(lambda: shared.shutdown(socket.SHUT_WR)),
        "shutdown of a shared one": errno_of(lambda: lifted.shutdown(socket.SHUT_RD)),
        "send": errno_of(lambda: lifted.send(b"") and None),
        "dup": errno_of(lambda: os.dup2(other.fileno(), 99, inheritable=False)),
        "dup of a shared one": errno_of(lambda: os.dup2(SHARED, 99, inheritable=False)),
        "unix socket": errno_of(lambda: socket.socket(socket.AF_UNIX)),
        "raw socket": errno_of(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
        "open": errno_of(lambda: os.open("/etc/passwd", os.O_RDONLY)),
        "mkdir": errno_of(lambda: os.mkdir(directory)),
        "reuse port": errno_of(lambda: socket.socket().setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)),
        "send descriptors": errno_of(lambda: socket.send_fds(theirs, [b"x"], [SHARED])),
    }


def test_what_a_worker_may_and_may_not_do() -> None:
    found = apart(confined)
    allowed = {name for name, code in found.items() if code == 0}
    assert allowed == {"shutdown", "dup"}
    assert found["received"] == 1
    assert (found["open"], found["mkdir"], found["send descriptors"]) == (errno.EACCES,) * 3
    assert found["send"] == errno.EPIPE  # it was shut down, by its other name
    for name in (
        "shutdown of a shared one",
        "dup of a shared one",
        "unix socket",
        "raw socket",
        "reuse port",
    ):
        assert found[name] == errno.ENOSYS, name


def test_without_a_module_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "MODULES", ("no_such_module",))
    with pytest.raises(OSError, match=r"pip install '\.\[sandbox\]', or pyseccomp"):
        seccomp.library()
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)  # not in a virtual environment
    with pytest.raises(OSError, match="install python3-seccomp"):
        seccomp.library()
    monkeypatch.setattr(linux, "IS_LINUX", False)
    with pytest.raises(OSError, match="this system has none"):
        seccomp.library()


def test_the_table_loads_where_linux_names_are_missing(tmp_path: Path) -> None:
    code = (
        "import fcntl, os, socket\n"
        "for module, names in {\n"
        "    fcntl: 'F_SETPIPE_SZ F_GETPIPE_SZ', os: 'O_TMPFILE', socket:\n"
        "    'SOCK_NONBLOCK SOCK_CLOEXEC AF_NETLINK TCP_CORK TCP_KEEPIDLE TCP_QUICKACK TCP_USER_TIMEOUT'\n"
        "}.items():\n"
        "    for name in names.split(): delattr(module, name)\n"
        "from forksocks.host.sandbox import calls\n"
        "assert ('fcntl', calls.Own(0), calls.Is(1, fcntl.F_GETFL)) in calls.WORKER\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_test_is_what_it_says() -> None:
    module: Any = Recorder()
    assert seccomp.comparison(module, Is(1, 2, 3), 9) == (1, "&", 3, 2)
    assert seccomp.comparison(module, Own(1), 9) == (1, "<", 9)
    assert seccomp.comparison(module, Self(1), 9) == (1, "==", os.getpid())
