"""What each signal orders, in words; and the terminal, which sends some of them by itself."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Mapping

# README.md has the same table, and the supervisor an action for each.
MEANINGS: Mapping[signal.Signals, str] = {
    signal.SIGTERM: "stop: let tunnels finish for `drain`, 5 minutes, then reset them; a second one ends now",
    signal.SIGINT: "the same; on a terminal it says for how many connections it waits",
    signal.SIGQUIT: "end now",
    signal.SIGHUP: "read the configuration again and go over to it; an error changes nothing",
    signal.SIGUSR1: "open the log files again",
    signal.SIGUSR2: "start the program anew, in whatever version it is by now; once it serves, drain and end",
    signal.SIGWINCH: "let all workers finish and stay without any, listening; SIGHUP brings them back",
    signal.SIGTTIN: "one worker more, until the next SIGHUP",
    signal.SIGTTOU: "one worker less, until the next SIGHUP",
}
# What a terminal sends by itself, as when its window changes: with a terminal these are ignored.
OF_TERMINALS = (signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU)


def has_terminal() -> bool:
    """Whether a terminal may send us signals (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def tell_terminal(text: str) -> None:
    """Say something to a person at standard error, unless that would have to wait."""
    poller = select.poll()
    poller.register(2, select.POLLOUT)
    with contextlib.suppress(OSError):
        if os.isatty(2) and poller.poll(0):
            os.write(2, f"forksocks: {text}\n".encode())
