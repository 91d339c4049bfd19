"""What was refused last, as the workers' threads have noted it. A worker that was taken over may have noted
anything: what makes no sense is left out, and what is shown is made fit for a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from forksocks.host.terminal import printable
from forksocks.status.frame import Object, Server, age

# Fields of an answer, and what the log, and so a note, calls them.
NOTED: Mapping[str, str] = {
    "cause": "cause", "hint": "hint", "id": "id", "listen": "listen", "client": "client", "user": "user",
    "socks": "socks", "command": "cmd", "to": "to", "addr": "addr", "rule": "rule", "reply": "reply",
    "first": "first",
}  # fmt: skip
FIELDS = tuple(name for name in NOTED if name not in ("hint", "first"))


def refusals(server: Server) -> Iterator[Object]:
    """The last ones, the oldest first; the first bytes of the client in hex, without any of a password."""
    for stamp, text in server.watch.refusals():
        noted = _noted(text)
        if noted is not None:
            yield {"age": age(stamp), **noted}


def _noted(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
        return {name: printable(str(found.get(field, ""))) for name, field in NOTED.items()}
    except (ValueError, AttributeError, RecursionError):
        return None
