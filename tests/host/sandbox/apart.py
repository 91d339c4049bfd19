"""Runs a function in a process of its own, which it may confine as it likes: there is no way back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
# _exit: confined, a process cannot do what it does at its end (coverage data, caches).
PROGRAM = """
import importlib, json, os, sys
name, function, words = sys.argv[1:]
module = importlib.import_module(name)
os.write(1, json.dumps(getattr(module, function)(*json.loads(words))).encode())
os._exit(0)
"""


def apart(function: Callable[..., Any], *words: object) -> Any:
    """What `function` of a test module returns there; arguments and answer have to be JSON."""
    command = [sys.executable, "-c", PROGRAM, function.__module__, function.__name__, json.dumps(words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def errno_of(attempt: Callable[[], object]) -> int:
    """The errno that an attempt fails with, 0 if it succeeds."""
    try:
        attempt()
    except OSError as error:
        return error.errno or -1
    return 0
