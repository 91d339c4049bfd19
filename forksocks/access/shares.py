"""How many of something one user, or one address, has at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Hashable


class Shares:
    """At most `most` for each; safe for threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._of: Counter[Hashable] = Counter()
        self._lock = threading.Lock()

    def enter(self, who: Hashable) -> bool:
        """Take one more; False, and nothing is taken, if that would be too many."""
        with self._lock:
            if self._of[who] >= self.most:
                return False
            self._of[who] += 1
            return True

    def leave(self, who: Hashable) -> None:
        """Give one back."""
        with self._lock:
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]
