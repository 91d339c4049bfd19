"""Credentials that were right a moment ago, so that the next connection need not wait for a hash.

What is kept is a keyed digest, worthless without this process's key. Only what was right is remembered: wrong
passwords would let anyone fill the memory. A changed users file begins a new version and empties it; what
another program said is believed for a time that is told with it.
"""

from __future__ import annotations

import math
import os
import threading
from hashlib import blake2b
from time import monotonic

from forksocks.access.passwords import Right

FOR_EVER = Right(math.inf)
_KEPT = 4096  # credentials: about 1 MB


class Verified:
    """A bounded memory of verified credentials; the least recently used goes first. Thread-safe."""

    def __init__(self, most: int = _KEPT) -> None:
        self._most = most
        self._key = os.urandom(blake2b.MAX_KEY_SIZE)
        self._lock = threading.Lock()
        self._version = 0
        self._known: dict[bytes, Right] = {}  # until when, on the monotonic clock

    def knows(self, version: int, name: bytes, password: bytes, where: bytes = b"") -> Right | None:
        """For how many more seconds these are right under this version of the users file; None: unknown.

        where: tells clients apart that are asked about once each.
        """
        digest = self._digest(name, password, where)
        with self._lock:
            known = self._known.pop(digest, None) if self._is_current(version) else None
            left = 0.0 if known is None else known.seconds - monotonic()
            if known is None or left <= 0:
                return None
            self._known[digest] = known  # at the end: used last
            return Right(left, known.groups)

    def remember(
        self, version: int, name: bytes, password: bytes, right: Right = FOR_EVER, where: bytes = b""
    ) -> None:
        """These are right under `version`, the one that was current before they were verified."""
        if right.seconds <= 0:
            return
        digest = self._digest(name, password, where)
        with self._lock:
            if not self._is_current(version):
                return  # verified against a file that has been replaced meanwhile
            self._known.pop(digest, None)
            self._known[digest] = Right(monotonic() + right.seconds, right.groups)
            if len(self._known) > self._most:
                del self._known[next(iter(self._known))]

    def _is_current(self, version: int) -> bool:
        """Whether this is the newest version heard of; a newer one empties the memory."""
        if version > self._version:
            self._version = version
            self._known.clear()
        return version == self._version

    def _digest(self, name: bytes, password: bytes, where: bytes) -> bytes:
        # The lengths keep ("ab", "c") apart from ("a", "bc").
        text = b"".join(len(each).to_bytes(2, "big") + each for each in (name, password, where))
        return blake2b(text, key=self._key, digest_size=32).digest()
