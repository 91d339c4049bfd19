"""Logins by GSSAPI (RFC 1961), on their way between a worker and the process that has the keytab.

The worker passes on what the client sends, and gets what to send back; at the end it gets who the client is
and the keys of this one client, never the server's.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple

from forksocks.config.model import GssapiConfig
from forksocks.host import gss, keytab

MARK = 0  # the first byte of a question; of one about a password it is a length that is never 0
CONVERSATION = 16  # bytes of the number that the tokens of one client have in common
UNFINISHED, FINISHED, REFUSED = b"~", b"+", b"-"

# A context takes one token of Kerberos' mostly, three at most; who begins and never finishes is forgotten.
MOST_STEPS = 4
MOST_BEGUN = 1024
FORGET = 60.0
# Kerberos' clock skew, both ways, and some more: how long an old token could be sent again.
MEMORY = 660.0
MOST_REMEMBERED = 65536
LONGEST_ANSWER = 65536


class Refused(Exception):
    """The client is not let in; the text says why, for the log."""


class Answer(NamedTuple):
    """token: what to send to the client, if not empty. user, groups, exported: at the end, else empty."""

    token: bytes
    user: bytes = b""
    exported: bytes = b""
    groups: tuple[str, ...] = ()


def question(conversation: bytes, token: bytes) -> bytes:
    """Return what to ask for the next token of a client."""
    return bytes((MARK,)) + conversation + token


def is_question(message: bytes) -> bool:
    """Whether a message to the process that checks logins is one of these."""
    return message[:1] == bytes((MARK,))


def read_answer(message: bytes) -> Answer:
    """Read what `Logins.answer` gave. Raises Refused."""
    if message[:1] == UNFINISHED:
        return Answer(message[1:])
    if message[:1] != FINISHED:
        raise Refused(message[1:].decode("utf-8", "replace"))
    token, rest = _take(message[1:])
    user, rest = _take(rest)
    groups, exported = _take(rest)
    return Answer(token, user, exported, tuple(groups.decode("ascii").split(",")) if groups else ())


def _put(part: bytes) -> bytes:
    return len(part).to_bytes(4, "big") + part


def _take(message: bytes) -> tuple[bytes, bytes]:
    end = 4 + int.from_bytes(message[:4], "big")
    return message[4:end], message[end:]


def user_of(principal: bytes, realms: tuple[str, ...]) -> bytes:
    """The user that a principal is: without its realm if that is one of `realms` (RFC 1964 section 2.1.1)."""
    name, at, realm = principal.rpartition(b"@")
    return name if at and realm in {each.encode() for each in realms} else principal


@dataclass(slots=True)
class _Begun:
    context: Any
    steps: int
    until: float


class Logins:
    """All logins of one process. Thread-safe. The keytab is read now. Raises KeytabError, Missing, Failed.

    groups_of: the groups that a user is in; raises Refused for who may not log in.
    """

    def __init__(self, config: GssapiConfig, groups_of: Callable[[bytes], tuple[str, ...]]) -> None:
        if config.keytab is None:
            raise keytab.KeytabError("no keytab is configured")
        self._realms = config.realms
        self._groups_of = groups_of
        self._acceptor = gss.Acceptor(keytab.copy(config.keytab))
        self._lock = threading.Lock()
        self._begun: OrderedDict[bytes, _Begun] = OrderedDict()
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def answer(self, message: bytes) -> bytes:
        """Answer a question."""
        conversation, token = message[1 : 1 + CONVERSATION], message[1 + CONVERSATION :]
        begun = self._find(conversation)
        try:
            step = self._acceptor.step(begun.context, token)
            if not step.principal:
                self._keep(conversation, begun)
                return UNFINISHED + step.token
            self._refuse_replays(step.once)
            user = user_of(step.principal, self._realms)
            groups = ",".join(self._groups_of(user)).encode()
        except (gss.Failed, Refused) as error:
            return REFUSED + str(error).encode()
        made = FINISHED + _put(step.token) + _put(user) + _put(groups) + step.exported
        return made if len(made) <= LONGEST_ANSWER else REFUSED + b"the context is too large"

    def _find(self, conversation: bytes) -> _Begun:
        now = monotonic()
        with self._lock:
            while self._begun and next(iter(self._begun.values())).until <= now:
                self._begun.popitem(last=False)
            return self._begun.pop(conversation, None) or _Begun(self._acceptor.begin(), 0, now + FORGET)

    def _keep(self, conversation: bytes, begun: _Begun) -> None:
        begun.steps += 1
        with self._lock:
            if begun.steps >= MOST_STEPS or len(self._begun) >= MOST_BEGUN:
                raise Refused("too many tokens" if begun.steps >= MOST_STEPS else "too many logins at once")
            self._begun[conversation] = begun

    def _refuse_replays(self, once: bytes) -> None:
        """An eavesdropper may send a token again; he could not read the answer, but need not."""
        now = monotonic()
        with self._lock:
            while self._seen and (
                next(iter(self._seen.values())) <= now or len(self._seen) >= MOST_REMEMBERED
            ):
                self._seen.popitem(last=False)
            if once in self._seen:
                raise Refused("a token that was used before")
            self._seen[once] = now + MEMORY
