"""How often the same trouble is logged: at once, and then once in a while with how often it came meanwhile.

Where every client's login fails for one reason there would be a line for each of them, and a client may come
ten thousand times a second.
"""

from __future__ import annotations

import threading

EVERY = 60.0  # seconds between two lines about the same trouble
KINDS = 16  # that are told apart; whatever comes beyond them shares one
OTHERS = "others"


class Reminders:
    """Counts what is kept back, by kind. Thread-safe; all times are monotonic seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[str, tuple[float, int]] = {}  # when the next line is due, how many were kept back

    def admits(self, kind: str, now: float) -> bool:
        """Whether a line may be written now; if not, it is counted."""
        with self._lock:
            if kind not in self._kinds and len(self._kinds) >= KINDS:
                kind = OTHERS
            due, kept_back = self._kinds.get(kind, (now, -1))
            if kept_back >= 0:
                self._kinds[kind] = due, kept_back + 1
                return False
            self._kinds[kind] = now + EVERY, 0
            return True

    def settle(self, now: float) -> list[tuple[str, int]]:
        """Return the kinds whose time is over and that had more, with how many; forget the others."""
        with self._lock:
            over = [(kind, count) for kind, (due, count) in self._kinds.items() if due <= now]
            for kind, count in over:
                if count:
                    self._kinds[kind] = now + EVERY, 0
                else:
                    del self._kinds[kind]
        return [(kind, count) for kind, count in over if count]
