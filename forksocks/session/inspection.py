"""What an administrator may know of sessions under way beyond the scoreboard, and how they are ended.

A worker's main thread answers here what the admin process asks, in JSON over a channel of their own: nothing
is written or counted for it on the way of a connection. A session is meant by its identity, which no other
one ever has: who has ended meanwhile is simply not there.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from forksocks.config.model import endpoint
from forksocks.host import kernel
from forksocks.host.causes import Cause
from forksocks.session.client import Client
from forksocks.session.life import Session

Sessions = Mapping[str, Session]


def answer(question: bytes, sessions: Collection[Session]) -> bytes:
    """Answer one question; {} is the answer to one that is not understood."""
    found: dict[str, Any] = {}
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        asked = json.loads(question)
        named = {session.client.identity: session for session in sessions}
        found = VERBS[asked["verb"]](named, asked["ids"])
    return json.dumps(found, separators=(",", ":")).encode()


def end(sessions: Sessions, ids: Sequence[str]) -> dict[str, Any]:
    """End sessions; both their peers get a reset. Returns which of them were there."""
    there = [name for name in ids if name in sessions]
    for name in there:
        sessions[name].abort(Cause.ENDED_BY_ADMIN)
    return {"ended": there}


def rules(sessions: Sessions, ids: Sequence[str]) -> dict[str, Any]:
    """By identity the rule that allowed a session; "" where none has decided."""
    return {name: _rule(sessions[name]) for name in ids if name in sessions}


def look(sessions: Sessions, ids: Sequence[str]) -> dict[str, Any]:
    """By identity all that is known of a session: its rule and its two connections."""
    return {name: _whole(sessions[name]) for name in ids if name in sessions}


def brief(sessions: Sessions, ids: Sequence[str]) -> dict[str, Any]:
    """By identity the rule of a session, and the round trip to each end in seconds, None if unknown."""
    return {name: _brief(sessions[name]) for name in ids if name in sessions}


def asked(sessions: Sessions, ids: Sequence[str]) -> dict[str, Any]:
    """By identity who has asked for what, as rules are asked about it; of sessions that carry bytes alone."""
    there = [sessions[name] for name in ids if name in sessions]
    return {each.client.identity: _asked(each.client) for each in there if each.client.carrier is not None}


VERBS: Mapping[str, Callable[[Sessions, Sequence[str]], dict[str, Any]]] = {
    "end": end, "rules": rules, "look": look, "brief": brief, "asked": asked,
}  # fmt: skip


def _rule(session: Session) -> str:
    decision = session.client.decision
    return "" if decision is None or decision.rule is None else decision.rule


def _brief(session: Session) -> dict[str, Any]:
    client = session.client
    ends = {"client": client.socket, "target": client.target}
    rtt = {end: sock and kernel.connection(sock).get("rtt") for end, sock in ends.items()}
    return {"rule": _rule(session), "rtt": rtt}


def _asked(client: Client) -> dict[str, Any]:
    host = client.asked.host if client.asked else ""
    is_name = isinstance(host, str)
    return {
        "client": str(client.peer or ""), "user": None if client.user is None else client.user.hex(),
        "groups": client.groups, "listen": client.service.listen.name,
        "command": client.asked.command if client.asked else 0, "name": host if is_name else "",
        "port": client.asked.port if client.asked else 0,
        "addr": str(client.reached or ("" if is_name or isinstance(host, bytes) else host)),
    }  # fmt: skip


def _whole(session: Session) -> dict[str, Any]:
    client = session.client
    legs = {"client": _leg(client.socket)}
    if client.target is not None:
        legs["target"] = _leg(client.target)
    return {"rule": _rule(session), "socks": client.version, "legs": legs}


def _leg(sock: socket.socket) -> dict[str, Any]:
    """One connection, from our end of it."""
    found: dict[str, Any] = {"local": "", "peer": ""}
    with contextlib.suppress(OSError):  # closed meanwhile, or not connected
        found |= {"local": _shown(sock.getsockname()), "peer": _shown(sock.getpeername())}
    return found | {"tcp": kernel.connection(sock)}


def _shown(address: Any) -> str:
    """An address as it is logged; a unix socket's is its path."""
    return endpoint(*address[:2]) if isinstance(address, tuple) else str(address or "unix")
