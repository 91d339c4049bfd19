"""From one program to the next, on both sides: the upgrade that we began, and the one that began us.

Whoever has handed over drains, and ends when its last tunnel has. Until then it still listens, so that it can
come back: by SIGHUP, or by itself when the new program breaks down.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal

from forksocks.host.deadline import Deadline
from forksocks.process.children import describe_end
from forksocks.process.generation import MERCY
from forksocks.process.ledger import Ledger
from forksocks.process.pidfile import PidFileError
from forksocks.process.succession import Start, Succession
from forksocks.process.upgrade import Upgrade


class Handover:
    """Who else is the server: before us, or after us.

    is_leaving: another program serves in our place, and we end with our last tunnel.
    """

    def __init__(self, start: Start, succession: Succession, poller: select.poll, ledger: Ledger) -> None:
        self._start = start
        self._ledger = ledger
        self._succession = succession
        self._outcome = succession.outcomes.upgrade
        self._poller = poller
        self._upgrade: Upgrade | None = None
        self._wanted = False
        self._reload_after = False
        self._has_said_so = False
        self._stopping = False
        self.is_leaving = False
        self._counts = Deadline(0.0)
        if start.predecessor.is_waiting:
            poller.register(start.predecessor.fileno(), select.POLLIN)

    @property
    def is_done(self) -> bool:
        """Whether we end once our last tunnel has; not before the program before us has counted its last."""
        return self.is_leaving and (self._ledger.legacy.is_final or self._counts.passed())

    @property
    def is_ours(self) -> bool:
        """Whether the server is us: not the program before, nor one that has taken over."""
        return not (self.is_leaving or self._start.predecessor.is_waiting)

    # What is asked for

    def begin(self) -> None:
        """Start the program anew beside us."""
        refusal = self._refusal()
        if refusal:
            self._succession.log.error("upgrade-refused", error=refusal)
            self._outcome.refuse(refusal)
            return
        self._wanted = self._succession.is_changing
        current = self._succession.current
        if self._wanted or current is None:
            return  # as soon as the reload is over
        self._outcome.begin()
        self._succession.shares_sockets = True
        try:
            limit = current.config.server.start_limit
            self._upgrade = Upgrade(self._start.program, current.all_endpoints, limit)
        except OSError as error:
            self._succession.log.error("upgrade-failed", error=f"cannot fork: {error.strerror}")
            self._outcome.fail(f"cannot fork: {error.strerror}")
            return
        self._poller.register(self._upgrade.line, select.POLLIN)
        self._succession.log.notice("upgrading", pid=self._upgrade.pid, program=self._start.program.words[0])

    def _refusal(self) -> str | None:
        if self._start.predecessor.is_waiting:
            return "the program before this one has not handed over yet"
        if self._upgrade is not None:
            has = "has taken over" if self._upgrade.has_taken_over else "is about to take over"
            return f"process {self._upgrade.pid} {has}"
        if os.getpid() == 1:
            return "process 1 of a container cannot be followed by another; start a new container"
        return None

    def takes_reload(self) -> bool:
        """Whether a reload has to wait: the new program may or may not have read the file already."""
        self._leave(False)
        self._reload_after = self._upgrade is not None and not self._upgrade.has_taken_over
        return self._reload_after

    def stop(self) -> None:
        """The server ends: so does a program that has not taken over yet."""
        self._stopping = True
        self._wanted = self._reload_after = False
        if self._upgrade is not None and not self._upgrade.has_taken_over:
            self._upgrade.abandon()

    def close(self) -> None:
        """Leave nobody behind who waits for us."""
        self._start.predecessor.close()
        if self._upgrade is not None and not self._upgrade.has_taken_over:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._upgrade.pid, signal.SIGKILL)

    def forget(self) -> None:
        """In a new child: an end left open there would hide our death from the other program."""
        self._start.predecessor.close()
        if self._upgrade is not None:
            self._upgrade.line.close()

    # What happens

    def look(self) -> None:
        """A turn of the main loop: take the step that is due."""
        self._ledger.estate.update()
        if self._wanted and not self._succession.is_changing:
            self.begin()
        if self._upgrade is not None and self._upgrade.end_if_late():
            self._succession.log.error("upgrade-late", pid=self._upgrade.pid, after=self._upgrade.age)
        if not self._has_said_so and self._succession.current is not None:
            self._has_said_so = True
            self._start.predecessor.ready()
            if not self._start.predecessor.is_waiting:
                self._start.notifier.ready()

    def due(self) -> list[float]:
        """The times, on the monotonic clock, at which `look` has something to do."""
        return [] if self._upgrade is None else self._upgrade.due()

    def hears(self, descriptor: int) -> bool:
        """Take a word if it comes from one of the two; False if it comes from somebody else."""
        predecessor = self._start.predecessor
        if descriptor == predecessor.fileno():
            was_waiting = predecessor.is_waiting
            predecessor.hear()
            if predecessor.fileno() < 0:
                self._poller.unregister(descriptor)
            if was_waiting and not predecessor.is_waiting:
                self._take_over()
            return True
        upgrade = self._upgrade
        if upgrade is None or descriptor != upgrade.line.fileno():
            return False
        word = upgrade.hear()
        if word == "ready" and not upgrade.has_taken_over:
            self._give_over(upgrade)
        elif word is None:
            self._poller.unregister(descriptor)  # how it ended is seen when it is reaped
        return True

    def bury(self, pid: int, status: int) -> None:
        """A process of ours has ended that is no child of a generation."""
        upgrade = self._upgrade
        if upgrade is None or upgrade.pid != pid:
            return
        self._upgrade = None
        how = describe_end(status)
        with contextlib.suppress(BlockingIOError):
            while upgrade.hear() is not None:
                pass
        with contextlib.suppress(KeyError):
            self._poller.unregister(upgrade.line)
        upgrade.line.close()
        if upgrade.has_taken_over:
            self._see_off(upgrade, how, is_missed=status != 0 and not upgrade.is_followed)
            return
        self._succession.log.error("upgrade-failed", pid=pid, error=upgrade.why or how)
        self._outcome.fail(upgrade.why or f"the new program ended before it served ({how})")
        if self._reload_after:
            self._reload_after = False
            self._succession.reload()

    def _give_over(self, upgrade: Upgrade) -> None:
        """It serves: what there is only one of goes to it, and our workers finish."""
        self._leave(True)  # first: should we be killed from here on, it serves in our place
        if self._start.pidfile is not None:
            self._start.pidfile.give_to(upgrade.pid)
        self._start.notifier.handed_over(upgrade.pid)
        self._let_it_inherit(upgrade)
        self._outcome.succeed()
        serving = self._succession.serving
        self._succession.log.notice(
            "upgraded", pid=upgrade.pid, took=upgrade.age, drain=serving.config.server.drain,
            connections=self._succession.connections,
        )  # fmt: skip
        self._succession.stand_by(serving.config.server.drain)
        self._counts = Deadline(serving.config.server.drain + 2 * MERCY)  # it was told to end before us
        if self._reload_after:
            self._reload_after = False
            os.kill(upgrade.pid, signal.SIGHUP)

    def _let_it_inherit(self, upgrade: Upgrade) -> None:
        try:
            estate: tuple[int, ...] = (self._ledger.estate.open(),)
        except OSError as error:
            self._succession.log.error("totals-not-handed-over", error=str(error))
            estate = ()
        upgrade.hand_over(estate)
        for descriptor in estate:
            os.close(descriptor)

    def _take_over(self) -> None:
        """The program before us has let go of what there is only one of."""
        if self._start.predecessor.estate is not None:
            self._ledger.legacy.take(self._start.predecessor.estate)
        if self._start.pidfile is not None:
            try:
                self._start.pidfile.take()
            except PidFileError as error:
                self._succession.log.error("pid-file-not-taken", error=str(error))
        if self._has_said_so:  # or else it died before we were ready
            self._start.notifier.ready()
        self._succession.log.notice("took-over", pid=os.getpid())

    def _leave(self, leaving: bool) -> None:
        if leaving != self.is_leaving:
            self.is_leaving = leaving
            self._start.predecessor.is_followed(leaving)

    def _see_off(self, upgrade: Upgrade, how: str, is_missed: bool) -> None:
        """The program that had taken over is gone. is_missed: it broke down, and nobody serves any more."""
        self._succession.log.notice("successor-ended", pid=upgrade.pid, how=how)
        if is_missed and not self._stopping:
            self._leave(False)
            self._start.notifier.took_back(os.getpid())
            self._succession.revive()
        if self._start.pidfile is not None and not self.is_leaving:
            with contextlib.suppress(PidFileError):
                self._start.pidfile.take_back()
