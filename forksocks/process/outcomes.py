"""What came of the last reload and the last upgrade: for whoever asked for one, and waits for its end.

Each is counted when it begins and when it ends. Who wants one remembers how many had begun, asks, and waits
until one that began later has ended: the configuration that it read is not older than the question.
"""

from __future__ import annotations

from dataclasses import dataclass

MOST_TEXT = 2000  # characters of a reason


@dataclass(slots=True)
class Outcome:
    """Of one kind of change: how many have begun and ended, and what was wrong with the last one.

    changed: what is different since the last one that succeeded, in words.
    """

    begun: int = 0
    ended: int = 0
    error: str = ""
    changed: str = ""

    def begin(self) -> None:
        """One begins."""
        self.begun += 1

    def succeed(self, changed: str = "") -> None:
        """The one under way is done, if there is one."""
        if self.ended < self.begun:
            self.ended, self.error, self.changed = self.begun, "", changed[:MOST_TEXT]

    def fail(self, error: str) -> None:
        """The one under way has failed, if there is one."""
        if self.ended < self.begun:
            self.ended, self.error, self.changed = self.begun, error[:MOST_TEXT], ""

    def refuse(self, error: str) -> None:
        """One has been asked for that cannot begin; another one may be under way."""
        if self.ended == self.begun:
            self.begin()
            self.fail(error)

    def named(self) -> dict[str, int | str]:
        """As the scoreboard carries it."""
        return {"begun": self.begun, "ended": self.ended, "error": self.error, "changed": self.changed}


class Outcomes:
    """Of both kinds."""

    def __init__(self) -> None:
        self.reload = Outcome()
        self.upgrade = Outcome()

    def named(self) -> dict[str, dict[str, int | str]]:
        """As the scoreboard carries them."""
        return {"reload": self.reload.named(), "upgrade": self.upgrade.named()}
