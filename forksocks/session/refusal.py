"""What is remembered of a session that was refused: `forksocksctl refusals`.

Of the first bytes none is kept that may be of a password: those of a greeting, of SOCKS4, which has none, and
of TLS; of HTTP no more than the method and what stands before a colon; of what nobody knows, four.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping

from forksocks.host.causes import Cause
from forksocks.host.log.lines import Field
from forksocks.host.scoreboard.refusals import LONGEST
from forksocks.host.terminal import printable
from forksocks.session.client import Client
from forksocks.wire import foreign, socks4, socks5

# The server's own doing: not that a target is out of reach, nor that a client went away.
REFUSED = frozenset(
    (
        Cause.DENIED, Cause.LIMITED, Cause.AUTH_FAILED, Cause.BANNED, Cause.AUTH_UNAVAILABLE, Cause.NO_METHOD,
        Cause.PROTOCOL_ERROR, Cause.UNSUPPORTED, Cause.HANDSHAKE_TIMEOUT, Cause.CROWDED, Cause.BAD_NAME,
        Cause.SELF_CONNECT, Cause.NO_RESOURCES,
    )
)  # fmt: skip
UNKNOWN = 4  # bytes of a language that nobody knows: one may begin with a password
LONGEST_VALUES = (512, 64)  # characters of a value; JSON may double them, and all of the last have room


def remember(client: Client, cause: Cause, hint: str | None) -> None:
    """Note a session that ends, if it was refused."""
    if cause not in REFUSED:
        return
    with contextlib.suppress(MemoryError):
        facts = client.facts() | {"cause": cause.value, "hint": hint, "first": shown(client.first).hex()}
        client.service.notes.refusals.note(encoded(facts))


def encoded(facts: Mapping[str, Field]) -> bytes:
    """The facts as JSON that has room in an entry."""
    texts = {key: _text(value) for key, value in facts.items() if value is not None}
    for most in LONGEST_VALUES:
        data = json.dumps({key: text[:most] for key, text in texts.items()}, separators=(",", ":")).encode()
        if len(data) <= LONGEST:
            break
    return data


def shown(first: bytes) -> bytes:
    """Of a client's first bytes those that are no secret."""
    if not first:
        return b""
    if first[0] == socks5.VERSION:
        return first[: 2 + first[1]] if len(first) > 1 else first
    if first[0] == socks4.VERSION:
        return first
    language = foreign.language(first[0])
    if language == "HTTP":  # a URL may hold a password behind a colon, or in what is asked
        return first.partition(b":")[0].partition(b"?")[0]
    return first if language == "TLS" else first[:UNKNOWN]


def _text(value: Field) -> str:
    """In ASCII that may be printed."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return printable(text).encode("ascii", "backslashreplace").decode()
