"""The command `forksocks`.

Exit status: 0 it ended as asked, 1 it could not run (address in use, permission), 2 wrong usage or wrong
configuration. Nothing that a user can cause shows a traceback; what does is a bug.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from forksocks import banner, options
from forksocks.config import show
from forksocks.config.load import ConfigError, Loaded, current_directory, load
from forksocks.config.model import Config
from forksocks.config.values import readable
from forksocks.host import container
from forksocks.host.notify import Notifier
from forksocks.host.routes import Routes
from forksocks.host.terminal import printable_lines
from forksocks.preflight import Preflight
from forksocks.process import daemon, inherit, supervisor
from forksocks.process.listeners import Endpoint
from forksocks.process.pidfile import PidFile, PidFileError
from forksocks.process.predecessor import Predecessor
from forksocks.process.upgrade import Program

DONE, FAILED, WRONG = 0, 1, 2

Announce = Callable[[tuple[str, ...]], None]


class _Failed(Exception):
    """The server did not start, or was never meant to; the text is for the user, `status` the exit status."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    _open_standard_descriptors()
    predecessor = Predecessor()
    try:
        inherited = inherit.take(os.environ, os.getpid())
        predecessor = Predecessor(inherited.line)
        status = _run(sys.argv[1:] if arguments is None else arguments, inherited.endpoints, predecessor)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (_Failed, inherit.InheritError) as error:
        _complain(str(error))
        predecessor.failed(str(error))
        return error.status if isinstance(error, _Failed) else FAILED
    except KeyboardInterrupt:
        return FAILED
    except BrokenPipeError:
        # The reader of our output has seen enough; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    return status


def _run(arguments: Sequence[str], inherited: Sequence[Endpoint], predecessor: Predecessor) -> int:
    try:
        found = options.parse(arguments)
    except options.UsageError as error:
        raise _Failed(f"{error}\nusage: {options.USAGE}; forksocks --help says more", WRONG) from None
    if found.help:
        return _print(options.help_text())
    if found.version:
        return _print(banner.version() + "\n")
    try:
        here = current_directory()  # a daemon leaves it, and will have to find its file again
        if found.show_config:
            return _print(show.effective(load(found.config, options.flags(found), here, may_wait=True)))
        asked = _checked(found, here, may_wait=True)
        loaded = asked.loaded
    except ConfigError as error:
        raise _Failed(str(error), WRONG) from None
    if found.check:
        for warning in asked.warnings:
            _complain(str(warning))
        return _print(_summary(loaded, found.config))
    path = loaded.config.server.pidfile
    greets = not (found.quiet or predecessor.is_waiting)
    start = supervisor.Start(
        *asked.ready, lambda: _checked(found, here).ready,
        announce=_greeter(loaded.config) if greets else lambda _addresses: None,
        program=_program(arguments, here), inherited=inherited, predecessor=predecessor,
        pidfile=None if path is None else PidFile(path),
        notifier=Notifier.from_environment(os.environ, os.getpid()),
    )  # fmt: skip
    return _serve(start)


def _checked(found: argparse.Namespace, here: Path, may_wait: bool = False) -> Preflight:
    """The configuration as file and flags say it now; ConfigError with all that is wrong with it.

    may_wait: see `files.content`; a server that reads its configuration again must not.
    """
    loaded = load(found.config, options.flags(found), here, may_wait)
    asked = Preflight(loaded, thorough=found.check)
    if asked.problems:
        raise ConfigError(asked.problems)
    return asked


def _program(arguments: Sequence[str], here: Path) -> Program:
    """How to start this program again: the script as it is then, or else this Python with the same words.

    -P: `python -m forksocks` must not import what lies in the directory that it was started in.
    """
    script = here / sys.argv[0]
    if sys.modules["__main__"].__spec__ is None and script.is_file() and os.access(script, os.X_OK):
        words = [str(script), *arguments]
    else:
        words = [sys.executable, "-P", *sys.orig_argv[1:]]
    return Program(words, here, dict(os.environ), signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)


def _serve(start: supervisor.Start) -> int:
    """Start the server, here or as a daemon, and stay until it ends."""

    def serve(announce: Announce) -> int:
        if start.pidfile is not None and not start.predecessor.is_waiting:
            start.pidfile.take()
        try:
            return supervisor.run(dataclasses.replace(start, announce=announce))
        finally:
            if start.pidfile is not None:
                start.pidfile.remove()

    try:
        if start.config.server.daemon and not start.predecessor.is_waiting:
            daemon.start(serve, _explain)
            return DONE
        if start.config.server.daemon:
            daemon.leave_directory()
        return serve(start.announce)
    except (daemon.DaemonError, supervisor.StartError) as error:
        raise _Failed(str(error), error.status) from None
    except PidFileError as error:
        raise _Failed(str(error), FAILED) from None


def _explain(error: BaseException) -> tuple[str, int] | None:
    """The text and the exit status of the errors that are not bugs."""
    if isinstance(error, supervisor.StartError):
        return str(error), error.status
    return (str(error), FAILED) if isinstance(error, PidFileError) else None


def _greeter(config: Config) -> Announce:
    """Greets a person in front of a terminal, and nobody else."""

    def greet(addresses: tuple[str, ...]) -> None:
        if sys.stderr is None or not sys.stderr.isatty():
            return
        routes = Routes()
        try:
            text = banner.first_start(
                config, addresses, routes, container.container_sign(os.environ) is not None
            )
        finally:
            routes.close()
        with contextlib.suppress(OSError):  # the terminal has gone: serve on
            sys.stderr.write("".join(f"{line}\n" for line in printable_lines(text)))
            sys.stderr.flush()

    return greet


def _summary(loaded: Loaded, path: Path | None) -> str:
    """`forksocks.toml: ok: 4 workers on 0.0.0.0:1080 [::]:1080, users in /etc/forksocks/users`."""
    config = loaded.config
    binds = " ".join(readable(str(bind)) for listen in config.listen for bind in listen.bind)
    home = config.auth.users or (config.helper.command[0] if config.helper.command else None)
    who = f"users in {readable(str(home))}" if home else "no users"
    count = config.server.workers
    workers = "1 worker" if count == 1 else f"{count} workers"
    return f"{readable(str(path or 'command line'))}: ok: {workers} on {binds}, {who}\n"


def _print(text: str) -> int:
    """To standard output, in UTF-8 wherever we are: TOML knows no other encoding."""
    data = text.encode(errors="backslashreplace")
    try:
        while data:
            data = data[os.write(1, data) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        _complain(f"standard output: {error.strerror}")
        return FAILED
    return DONE


def _complain(text: str) -> None:
    """Each line with our name in front, to standard error; nobody can be told if that fails."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write("".join(f"forksocks: {line}\n" for line in printable_lines(text)))
        sys.stderr.flush()


def _open_standard_descriptors() -> None:
    """Fill a closed 0, 1 or 2: the next socket would take its number, and receive what is printed."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
