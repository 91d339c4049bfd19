"""Look-ups for those who cannot wait: each in a thread of its own, a bounded number in a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable

from forksocks.config.model import Address
from forksocks.host.deadline import Deadline
from forksocks.traffic.resolve import LookupFailed

MOST = 64  # look-ups under way in one worker; whoever comes beyond them is told no

Resolve = Callable[[str, Address | None, Deadline], list[Address]]


class Lookups:
    """Safe for threads. resolve: a name's addresses; raises LookupFailed or TimeoutError."""

    def __init__(self, resolve: Resolve, most: int = MOST) -> None:
        self._resolve = resolve
        self._slots = threading.BoundedSemaphore(most)

    def start(
        self, name: str, client: Address | None, seconds: float, tell: Callable[[list[Address]], None]
    ) -> bool:
        """Look `name` up within `seconds` and call `tell` from another thread; no address: an empty list.

        False if there is no room or no thread for it: then `tell` is not called.
        """
        if not self._slots.acquire(blocking=False):
            return False
        deadline = Deadline(seconds)
        try:
            threading.Thread(target=self._look_up, args=(name, client, deadline, tell), daemon=True).start()
        except RuntimeError:
            self._slots.release()
            return False
        return True

    def _look_up(
        self, name: str, client: Address | None, deadline: Deadline, tell: Callable[[list[Address]], None]
    ) -> None:
        found: list[Address] = []
        try:
            found = self._resolve(name, client, deadline)
        except (LookupFailed, OSError):  # TimeoutError and a lookup process that is gone are OSErrors
            found = []
        finally:
            self._slots.release()
            tell(found)
