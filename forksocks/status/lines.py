"""The admin process's lines to the workers, and to the lookup agent: a question and its answer, both JSON.

Workers are asked about sessions, the agent about what it alone knows. Either may have been taken over, or
hang: what it says is data to be shown, and who does not answer within PATIENCE is left out.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from forksocks.host.channels import TAG, Channel
from forksocks.host.deadline import Deadline

PATIENCE = 3.0  # seconds: a worker's main thread looks up at once, unless the machine is very busy
MOST = 256  # identities in one question, so that the answer fits a packet


class Lines:
    """The asking ends of the channels, by the key of their rows. Thread-safe."""

    def __init__(self, sockets: Mapping[int, socket.socket]) -> None:
        self._channels = {key: (threading.Lock(), Channel(sock)) for key, sock in sockets.items()}
        self._epoch = os.urandom(TAG - 4)  # nobody before us at these ends is answered to us
        self._tags = count(1)

    def ask(self, key: int, verb: str, ids: Sequence[str]) -> dict[str, Any] | None:
        """Ask a worker about sessions of its; None if it does not answer all of it."""
        found: dict[str, Any] = {}
        for first in range(0, len(ids), MOST):
            answer = self._ask(key, {"verb": verb, "ids": list(ids[first : first + MOST])})
            if answer is None:
                return None
            for name, value in answer.items():
                known = found.get(name)
                found[name] = known + value if isinstance(known, list) and isinstance(value, list) else value
        return found

    def order(self, key: int, verb: str, about: Mapping[str, Any]) -> dict[str, Any] | None:
        """Ask the lookup agent for one thing; None if it does not answer."""
        return self._ask(key, {"verb": verb, "ids": [about]})

    def forget_the_gone(self) -> None:
        """Close what leads to workers that nobody will follow, as those of a generation that has ended."""
        for key, (lock, channel) in list(self._channels.items()):
            if channel.is_over() and lock.acquire(blocking=False):
                del self._channels[key]
                channel.close()
                lock.release()

    def _ask(self, key: int, question: Mapping[str, Any]) -> dict[str, Any] | None:
        line = self._channels.get(key)
        if line is None:
            return None
        lock, channel = line
        tag = self._epoch + (next(self._tags) & 0xFFFFFFFF).to_bytes(4, "big")
        with lock:
            try:
                answer = json.loads(channel.ask(tag, json.dumps(question).encode(), Deadline(PATIENCE)))
            except (OSError, ValueError, RecursionError):
                return None
        return answer if isinstance(answer, dict) else None
