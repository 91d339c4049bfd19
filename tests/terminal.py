"""A person at a terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from tests.machine import LONG

# The command on a terminal of its own. Not pty.fork: this process may have threads, and forking below them is
# what Python 3.12 warns of.
LEADER = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Typist:
    """A person at a terminal: the command runs on a pty of its own."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        self.terminal, inside = pty.openpty()
        words = [sys.executable, "-I", "-S", "-c", LEADER, *command]
        self.process = subprocess.Popen(words, stdin=inside, stdout=inside, stderr=inside, env=env)
        os.close(inside)
        self.seen = b""

    def expect(self, text: bytes) -> None:
        """Read until this is there, and fail if it does not come."""
        deadline = time.monotonic() + LONG
        while text not in self.seen:
            ready, _, _ = select.select([self.terminal], [], [], deadline - time.monotonic())
            assert ready, f"{text!r} does not come after {self.seen!r}"
            self.seen += os.read(self.terminal, 4096)

    def type(self, text: bytes) -> None:
        """Press these keys."""
        os.write(self.terminal, text)

    def end(self, again: bytes = b"") -> int:
        """Read to the end; the exit status.

        again: a key that is pressed once more after every second in which nothing happens, as people do. A
        signal may come when Python has just looked for one and not begun to wait: then it waits for a second.
        """
        try:
            while True:
                if again and not select.select([self.terminal], [], [], 1.0)[0]:
                    self.type(again)
                    continue
                data = os.read(self.terminal, 4096)
                if not data:
                    break
                self.seen += data
        except OSError:  # Linux: EIO when the last process has closed the terminal
            pass
        os.close(self.terminal)
        status = self.process.wait(LONG)
        assert b"Traceback" not in self.seen
        return status
