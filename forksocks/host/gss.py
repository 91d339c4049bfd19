"""GSSAPI as this server uses it: python-gssapi over MIT Kerberos, imported only where it is configured.

A context is accepted in one process, which has the keytab, and used in another, which has only the keys of
its own client: `Context.export` and `Seal` are the two ends of that way (gss_export_sec_context(3), RFC 2743
section 2.2.8).
"""

from __future__ import annotations

import importlib
import os
import threading
from hashlib import blake2b
from typing import Any, NamedTuple

REMEDY = "it needs python-gssapi: pip install 'forksocks[gssapi]'"
KERBEROS = "1.2.840.113554.1.2.2"  # RFC 4121 section 1
# No replay cache of the library's: its file is not for a confined process, and `Step.once` tells replays.
NO_REPLAY_CACHE = b"none:"
NOWHERE = "/nonexistent/krb5.conf"
LUCID_VERSION = 1  # of <gssapi/gssapi_krb5.h>

_lock = threading.Lock()


class Missing(Exception):
    """This machine has no python-gssapi; the text says what to do."""


class Failed(Exception):
    """GSSAPI refused; the text is the library's."""


class Step(NamedTuple):
    """What a client's token led to.

    token: to send back, if not empty. The others are set once the context stands. principal: who the client
    is. exported: the context, for `Seal`. once: what no other context has, unless somebody sends again what
    he overheard.
    """

    token: bytes
    principal: bytes = b""
    exported: bytes = b""
    once: bytes = b""


def load() -> Any:
    """Import the library; by the supervisor, since its children can import no more. Raises Missing."""
    try:
        with _lock:
            gssapi: Any = importlib.import_module("gssapi")
            importlib.import_module("gssapi.raw.ext_krb5")
        gssapi.raw.indicate_mechs()  # the library reads its list of mechanisms at its first use
    except ImportError as error:
        raise Missing(f"{REMEDY} ({error})") from error
    return gssapi


def without_files() -> None:
    """Let libkrb5 look for its configuration where none is, before this process loses sight of files.

    It goes on without a file that is not there, but not without one that may not be read; and an exported
    context names the files that it was made by, which have to be there where it is imported. A server that
    has its keys needs nothing of what stands in krb5.conf(5).
    """
    os.putenv("KRB5_CONFIG", NOWHERE)


class Acceptor:
    """The server's side of new contexts. `keytab`: the name of one that this process can read."""

    def __init__(self, keytab: str) -> None:
        self._gssapi = gssapi = load()
        store = {b"keytab": keytab.encode(), b"rcache": NO_REPLAY_CACHE}
        mechanism = gssapi.OID.from_int_seq(KERBEROS)
        try:
            self._credentials = gssapi.Credentials(usage="accept", mechs=[mechanism], store=store)
        except gssapi.exceptions.GSSError as error:
            raise Failed(explain(error)) from error

    def begin(self) -> Any:
        """Return a context that waits for its first token."""
        return self._gssapi.SecurityContext(creds=self._credentials, usage="accept")

    def step(self, context: Any, token: bytes) -> Step:
        """Give a context the client's next token. Raises Failed."""
        gssapi = self._gssapi
        try:
            answer = bytes(context.step(token) or b"")
            if not context.complete:
                return Step(answer)
            principal = bytes(context.initiator_name)
            exported = bytes(context.export())
            return Step(answer, principal, exported, self._once(exported))
        except gssapi.exceptions.GSSError as error:
            raise Failed(explain(error)) from error

    def _once(self, exported: bytes) -> bytes:
        """A digest of the key and the number that the client chose for this context (RFC 4121 section 2)."""
        copy = self._gssapi.SecurityContext(token=exported)
        lucid = importlib.import_module("gssapi.raw.ext_krb5").krb5_export_lucid_sec_context(
            copy, LUCID_VERSION
        )
        numbers = lucid.recv_seq.to_bytes(8, "big", signed=False)
        key = lucid.cfx_kd.ctx_key if lucid.protocol else lucid.rfc1964_kd.key
        return blake2b(numbers + bytes(key), digest_size=32).digest()


class Seal:
    """A context that stands: wraps and unwraps (RFC 2743 section 2.3). One thread at a time.

    encrypts: messages are encrypted, not only signed. insists: those of the client must be too.
    """

    def __init__(self, exported: bytes) -> None:
        self._gssapi = load()
        self.encrypts = True
        self.insists = True
        try:
            self._context = self._gssapi.SecurityContext(token=exported)
        except self._gssapi.exceptions.GSSError as error:
            raise Failed(explain(error)) from error

    def wrap(self, data: bytes) -> bytes:
        """Return the token for some data. Raises Failed, also when it would not be encrypted as it should."""
        try:
            wrapped = self._context.wrap(data, self.encrypts)
        except self._gssapi.exceptions.GSSError as error:
            raise Failed(explain(error)) from error
        if wrapped.encrypted != self.encrypts:
            raise Failed("the context cannot encrypt")
        return bytes(wrapped.message)

    def unwrap(self, token: bytes) -> bytes:
        """Return the data in a token. Raises Failed for what the client has not wrapped as it should."""
        try:
            data, encrypted, _ = self._context.unwrap(token)
        except self._gssapi.exceptions.GSSError as error:
            raise Failed(explain(error)) from error
        if self.insists and not encrypted:
            raise Failed("a message is not encrypted")
        return bytes(data)

    def room(self, longest: int) -> int:
        """How many bytes of data fit into a token of `longest` bytes."""
        return int(self._context.get_wrap_size_limit(longest, self.encrypts))


def explain(error: Any) -> str:
    """What the library says, in one line."""
    return " ".join(str(error).split())[:200]
