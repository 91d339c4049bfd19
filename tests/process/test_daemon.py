"""A real process starts a daemon; a pipe that it inherits tells what became of it, and when it is gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import dedent, indent

import pytest

SCRIPT = """
import json, os, signal, sys, time
from forksocks.process import daemon

out = int(sys.argv[1])
first = os.getpid()

def facts():
    files = [os.readlink(f"/dev/fd/{fd}") if sys.platform == "linux" else "/dev/null" for fd in (0, 1, 2)]
    umask = os.umask(0)
    return {"pid": os.getpid(), "sid": os.getsid(0), "cwd": os.getcwd(), "umask": umask, "files": files}

def serve(announce):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
BODY
    os.write(out, json.dumps(facts()).encode() + b"\\n")
    signal.sigwait({signal.SIGTERM})
    os.write(out, b"ended\\n")
    return 0

def explain(error):
    return (f"known: {error}", 2) if isinstance(error, LookupError) else None

PREPARE
try:
    daemon.start(serve, explain)
except daemon.DaemonError as error:
    sys.exit(print(error) or error.status)
print("serving")
"""


@contextmanager
def started(body: str, prepare: str = "") -> Iterator[tuple[subprocess.CompletedProcess[str], int]]:
    """Run the script; gives the first process's end, and the pipe that the daemon writes to."""
    reader, writer = os.pipe()
    try:
        script = SCRIPT.replace("BODY", indent(dedent(body), "    ")).replace("PREPARE", dedent(prepare))
        command = [sys.executable, "-c", script, str(writer)]
        done = subprocess.run(
            command, pass_fds=[writer], stdout=subprocess.PIPE, text=True, timeout=30, check=False
        )
        os.close(writer)
        yield done, reader
    finally:
        os.close(reader)


def read_all(reader: int) -> str:
    """Until nobody is left who could write."""
    text = b""
    while piece := os.read(reader, 4096):
        text += piece
    return text.decode()


def read_line(reader: int) -> str:
    text = b""
    while not text.endswith(b"\n"):
        piece = os.read(reader, 1)
        assert piece, "the daemon has ended"
        text += piece
    return text.decode()


def test_a_daemon_has_left_everything_behind() -> None:
    with started("announce(('127.0.0.1:1',))") as (done, reader):
        facts = json.loads(read_line(reader))
        os.kill(facts["pid"], signal.SIGTERM)
        assert read_all(reader) == "ended\n"
    assert (done.returncode, done.stdout) == (0, "serving\n")
    assert facts["cwd"] == "/"
    assert facts["umask"] == 0o027
    assert facts["files"] == ["/dev/null"] * 3
    # Neither its own session's leader, which could take a terminal again, nor in ours.
    assert facts["sid"] not in (facts["pid"], os.getsid(0))


@pytest.mark.parametrize(
    ("body", "status", "shown"),
    [
        ("raise LookupError('x in use')", 2, "known: x in use"),
        ("return 0", 1, "the server ended before it was ready"),  # told to end while it started
        ("return 1", 1, "the server ended before it was ready"),
        ("os._exit(0)", 1, "the server ended before it was ready"),
        ("raise LookupError('x' * 100000)", 2, "known: xxx"),
        ("raise LookupError('\\udcff')", 2, "known: \\udcff"),
    ],
)
def test_the_terminal_hears_of_a_failure(body: str, status: int, shown: str) -> None:
    with started(body) as (done, reader):
        assert read_all(reader) == ""
    assert done.returncode == status
    assert done.stdout.startswith(shown)


def test_a_bug_is_shown_with_its_traceback() -> None:
    with started("1 / 0") as (done, reader):
        assert read_all(reader) == ""
    assert done.returncode == 1
    assert done.stdout.startswith("Traceback")
    assert done.stdout.rstrip().endswith("ZeroDivisionError: division by zero")


def test_children_that_keep_the_pipe_do_not_keep_the_terminal_waiting() -> None:
    body = """
    child = os.fork()
    if child == 0:
        signal.sigwait({signal.SIGTERM})
        os._exit(0)
    announce(())
    os.write(out, b"%d\\n" % child)
    """
    with started(body) as (done, reader):
        child = int(read_line(reader))
        daemon = json.loads(read_line(reader))["pid"]
        os.kill(child, signal.SIGTERM)
        os.kill(daemon, signal.SIGTERM)
        assert read_all(reader) == "ended\n"
    assert done.returncode == 0


def test_a_daemon_that_nobody_waits_for_any_more_ends() -> None:
    # As after Ctrl-C: the first process is gone before the daemon is ready.
    body = """
    os.kill(first, signal.SIGKILL)
    try:
        while True:
            os.kill(first, 0)
            time.sleep(0.01)
    except ProcessLookupError:
        announce(())
    """
    with started(body) as (done, reader):
        assert read_all(reader).endswith("\nended\n")
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("nth", [1, 2])
def test_a_machine_without_room_for_another_process(nth: int) -> None:
    prepare = f"""
    fork, calls = os.fork, []
    def no_room():
        calls.append(1)
        if len(calls) == {nth}:
            raise OSError(11, "Resource temporarily unavailable")
        return fork()
    os.fork = no_room
    """
    with started("announce(())", prepare) as (done, reader):
        assert read_all(reader) == ""
    assert (done.returncode, done.stdout) == (
        1,
        "cannot leave the terminal: Resource temporarily unavailable\n",
    )
