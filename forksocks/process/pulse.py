"""Whether a process still runs its main thread: its heartbeat, as the supervisor sees it come.

Only that the number changes counts, and only on the supervisor's own clock: what is written there may be a
lie. What counts as silence is bounded for each look, since a supervisor that was stopped, or waited long for
its own turn, knows nothing about the time in between: the machine was asleep or too busy for everybody.
"""

from __future__ import annotations

from time import monotonic

# Seconds of silence that lie at most between two looks; they are usually one second apart.
MOST_BETWEEN_LOOKS = 2.0


class Pulse:
    """The heartbeat of one process, from its birth on; or anything else that changes while it runs."""

    def __init__(self) -> None:
        self._beat: object = None
        self._looked = monotonic()
        self.silence = 0.0

    def note(self, beat: object) -> float:
        """Take note of a heartbeat; return for how many seconds it has not changed."""
        now = monotonic()
        passed = min(now - self._looked, MOST_BETWEEN_LOOKS)
        self._looked = now
        self.silence = self.silence + passed if beat == self._beat else 0.0
        self._beat = beat
        return self.silence
