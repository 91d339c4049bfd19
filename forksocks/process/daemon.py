"""`--daemon`: leave the terminal, and tell it the truth first.

The first process ends only when the server serves or has failed, with the server's own exit status and error;
a pipe carries the news. systemd and supervisors of its kind do not need this.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from typing import NoReturn

from forksocks.host.sandbox.descriptors import silence_standard

# Sockets, pid file and logs made by a daemon are not for others unless their mode is set on purpose.
UMASK = 0o027
# An error longer than this is cut; one write of it is never torn (pipe(7), PIPE_BUF).
LONGEST_ERROR = 4000
READY = b"ready"
END = b"\0"
SILENCE = "the server ended before it was ready; its log may say why"

# Called with the bound addresses once the server serves.
Announce = Callable[[tuple[str, ...]], None]
# Serves until it ends and returns the exit status.
Serve = Callable[[Announce], int]
# What a user should read about the exception that ended `serve`, and the exit status; None: a bug of ours.
Explain = Callable[[BaseException], tuple[str, int] | None]


class DaemonError(Exception):
    """The server did not start; the text and the exit status are the server's."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


def start(serve: Serve, explain: Explain) -> None:
    """Run `serve` in a daemon and return in this process once it serves; the daemon never returns from here.

    Raises DaemonError when it ends before. Descriptors 0 to 2 have to be open.
    """
    try:
        reader, writer = os.pipe()
        child = os.fork()
    except OSError as error:
        raise DaemonError(f"cannot leave the terminal: {error.strerror}") from None
    if child == 0:
        os.close(reader)
        _detach(serve, explain, _News(writer))
    os.close(writer)
    try:
        os.waitpid(child, 0)
        _wait_for_news(reader)
    finally:
        os.close(reader)


def _wait_for_news(reader: int) -> None:
    """`ready`, or the status in one digit and the error, or silence: it was killed.

    Each has an end of its own, because workers may keep the pipe's other end open for as long as they live.
    """
    news = b""
    while news != READY and not news.endswith(END):
        piece = os.read(reader, 2 * LONGEST_ERROR)
        if not piece:
            raise DaemonError(SILENCE)
        news += piece
    if news != READY:
        raise DaemonError(news[1:-1].decode(errors="replace"), status=int(news[:1]))


class _News:
    """The daemon's end of the pipe; the first news is the only one."""

    def __init__(self, writer: int) -> None:
        self.writer: int | None = writer

    def ready(self, _addresses: tuple[str, ...]) -> None:
        """It serves. If nobody waits any more the user gave up on it, so it ends again."""
        if not self.tell(READY):
            os.kill(os.getpid(), signal.SIGTERM)

    def failed(self, text: str, status: int) -> None:
        self.tell(b"%d%s%s" % (status, text.encode(errors="backslashreplace")[:LONGEST_ERROR], END))

    def tell(self, news: bytes) -> bool:
        if self.writer is None:
            return True
        try:
            os.write(self.writer, news)
        except BrokenPipeError:
            return False
        finally:
            os.close(self.writer)
            self.writer = None
        return True


def _detach(serve: Serve, explain: Explain, news: _News) -> NoReturn:
    """The middle process: a session of its own, and a second fork that leaves no way back (setsid(2))."""
    try:
        os.setsid()
        if os.fork() == 0:
            _serve(serve, explain, news)
    except OSError as error:
        news.failed(f"cannot leave the terminal: {error.strerror}", 1)
    os._exit(0)


def _serve(serve: Serve, explain: Explain, news: _News) -> NoReturn:
    """The daemon's life."""
    status = 1
    try:
        leave_directory()
        silence_standard()
        status = serve(news.ready)
        news.failed(SILENCE, status or 1)  # told to end meanwhile: whoever waits hears that nobody serves
    except BaseException as error:  # noqa: BLE001 (this process has nobody else to tell)
        text, status = explain(error) or (traceback.format_exc(), 1)
        news.failed(text, status)
    finally:
        os._exit(status)


def leave_directory() -> None:
    """Keep no directory busy that somebody may want to unmount or remove."""
    os.chdir("/")
    os.umask(UMASK)
