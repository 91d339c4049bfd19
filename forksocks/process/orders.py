"""What each signal orders, in words; and the terminal, which sends some of them by itself."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from collections.abc import Mapping

from forksocks.host.deadline import Deadline

# README.md has the same table, and the supervisor an action for each.
MEANINGS: Mapping[signal.Signals, str] = {
    signal.SIGTERM: "stop: let tunnels finish for `drain`, 5 minutes, then reset them; a second one ends now",
    signal.SIGINT: "the same; on a terminal it says for how many connections it waits",
    signal.SIGQUIT: "end now",
    signal.SIGHUP: "read the configuration again and go over to it; an error changes nothing; when its "
    "terminal is closed: stop, unless started with nohup",
    signal.SIGUSR1: "open the log files again",
    signal.SIGUSR2: "start the program anew, in whatever version it is by now; once it serves, drain and "
    "end; process 1 of a container refuses",
    signal.SIGWINCH: "let all workers finish and stay without any, listening; SIGHUP brings them back",
    signal.SIGTTIN: "one worker more, until the next SIGHUP",
    signal.SIGTTOU: "one worker less, until the next SIGHUP",
}
# Seconds from a terminal's end in which SIGHUP speaks of it.
HANGS_UP = 5.0
# What a terminal sends by itself, as when its window changes: with a terminal these are ignored.
OF_TERMINALS = (signal.SIGWINCH, signal.SIGTTIN, signal.SIGTTOU)


class Terminal:
    """The terminal that a server was started from, if any: whether it is there, and whether its end is ours.

    The kernel sends SIGHUP when a terminal hangs up, and so does a shell to its jobs; no signal says who sent
    it. So it is one of those if the terminal has gone, and only just: a server that outlived its terminal
    (`disown` of bash(1)) is reloaded like any other later on.

    outlives: SIGHUP was ignored when we were started, as nohup(1) does it.
    """

    def __init__(self, outlives: bool) -> None:
        self.is_there = _has_terminal()
        self._is_ours = self.is_there and not outlives
        self._gone: Deadline | None = None

    def look(self) -> None:
        """Note when it goes; to be called about once a second."""
        if self._is_ours and self._gone is None and not _has_terminal():
            self._gone = Deadline(HANGS_UP)

    def has_hung_up(self) -> bool:
        """Whether a SIGHUP that has just come means that it is gone."""
        self.look()
        return self._gone is not None and not self._gone.passed()


def _has_terminal() -> bool:
    """Whether a terminal may send us signals (tty(4)); one that has hung up is none."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno not in (errno.ENXIO, errno.EIO, errno.ENOENT, errno.ENOTTY, errno.ENODEV)
    return True


def tell_terminal(text: str) -> None:
    """Say something to a person at standard error, unless that would have to wait."""
    poller = select.poll()
    poller.register(2, select.POLLOUT)
    with contextlib.suppress(OSError):
        if os.isatty(2) and poller.poll(0):
            os.write(2, f"forksocks: {text}\n".encode())
