"""Asking a running server: one request over its unix socket (the protocol is told in process.admin)."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from forksocks.verbs.verb import NoServer, Refused

DEFAULT = Path("/run/forksocks/admin.sock")
PATIENCE = 30.0  # seconds
TRIES, PAUSE = 3, 0.2  # the pause in seconds


def add_options(made: argparse.ArgumentParser) -> None:
    """The options that every verb has which asks."""
    made.add_argument("--json", action="store_true", help="print JSON, one object a line")
    made.add_argument(
        "--socket", metavar="PATH", type=Path, default=DEFAULT,
        help=f"where the server answers: socket in [admin] ({DEFAULT})",
    )  # fmt: skip


def ask(path: Path, verb: str, filters: Mapping[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the objects of the answer as they come. Raises NoServer and Refused.

    Who answers may be replaced at any moment, as in an upgrade: before the first object it is asked again.
    """
    for left in reversed(range(TRIES)):
        begun = False
        try:
            for found in _ask_once(path, verb, filters):
                begun = True
                yield found
        except NoServer:
            if begun or not left:
                raise
            time.sleep(PAUSE)
        else:
            return


def _ask_once(path: Path, verb: str, filters: Mapping[str, str] | None) -> Iterator[dict[str, Any]]:
    request = {"verb": verb, "filters": dict(filters or {})}
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect(os.fspath(path))
        except PermissionError:
            raise Refused(f"{path}: permission denied") from None
        except (OSError, ValueError) as error:
            text = getattr(error, "strerror", None) or str(error)
            raise NoServer(f"{path}: no server answers ({text}); is socket set in [admin]?") from None
        try:
            with contextlib.suppress(BrokenPipeError):  # who is refused is told so unheard
                sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile("rb") as lines:
                yield from _objects(lines)
        except OSError as error:
            raise NoServer(f"{path}: the answer broke off ({error.strerror or error})") from None


def _objects(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            raise Refused("the answer is not understood: another version?") from None
        if "error" in found:
            raise Refused(str(found["error"]))
        if "done" in found:
            return
        yield found
    raise NoServer("the answer broke off")
