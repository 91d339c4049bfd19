"""Runs a function in a process of its own, which it may confine as it likes: there is no way back.

To import pytest takes longer than most of what is tried. So one process, the nursery, imports it once and has
a child for each function; it has no threads.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
LONG = 60.0
# Standard input is a socket: a question comes with where its child's output and errors go, and is answered
# with the child's exit status. _exit: confined, a process cannot do what it does at its end (coverage data,
# caches).
NURSERY = """
import importlib, json, os, socket, sys, traceback

def live(question):
    name, function, words = json.loads(question)
    os.write(1, json.dumps(getattr(importlib.import_module(name), function)(*words)).encode())

asked = socket.socket(fileno=os.dup(0))
importlib.import_module("pytest")
while True:
    question, ends, _, _ = socket.recv_fds(asked, 1 << 20, 2)
    if not question:
        break
    importlib.import_module(json.loads(question)[0])
    pid = os.fork()
    if pid == 0:
        asked.close()
        for number, end in enumerate((os.open(os.devnull, os.O_RDONLY), *ends)):
            os.dup2(end, number)
            os.close(end)
        status = 1
        try:
            live(question)
            status = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        os._exit(status)
    for end in ends:
        os.close(end)
    asked.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
"""


def apart(function: Callable[..., Any], *words: object) -> Any:
    """What `function` of a test module returns there; arguments and answer have to be JSON."""
    asking = _nursery()
    question = json.dumps((function.__module__, function.__name__, words)).encode()
    (answer, answer_end), (errors, errors_end) = os.pipe(), os.pipe()
    with open(answer, "rb") as said, open(errors, "rb") as complaints:
        socket.send_fds(asking, [question], [answer_end, errors_end])
        os.close(answer_end)
        os.close(errors_end)
        text = said.read()
        assert asking.recv(100) == b"0", complaints.read().decode()
    return json.loads(text)


@functools.cache
def _nursery() -> socket.socket:
    """Start it; it ends when this process does."""
    asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    asking.settimeout(LONG)
    with asked:
        process = subprocess.Popen([sys.executable, "-c", NURSERY], cwd=ROOT, stdin=asked.fileno())

    def end() -> None:
        asking.close()
        process.wait(LONG)

    atexit.register(end)
    return asking


def errno_of(attempt: Callable[[], object]) -> int:
    """The errno that an attempt fails with, 0 if it succeeds."""
    try:
        attempt()
    except OSError as error:
        return error.errno or -1
    return 0
