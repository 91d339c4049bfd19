"""The parent: its one loop, and what each signal makes it do.

It binds, forks the lookup agent and the workers, replaces whoever dies, and ends them all. It has no threads,
since it forks all its life, and reads nothing that comes from the network. What it holds at a fork every
child can read, so it holds no secret: it opens the users file and hands the descriptor on unread. Signals
only wake the loop, which then looks at what is so and does what is missing.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from forksocks.host import container, kernel, signals
from forksocks.host.sandbox import privileges
from forksocks.host.scoreboard.page import Page
from forksocks.process import birth, orders
from forksocks.process.beginning import StartError
from forksocks.process.generation import MERCY, Generation
from forksocks.process.handover import Handover
from forksocks.process.kept_bans import KeptBans
from forksocks.process.ledger import Ledger
from forksocks.process.succession import Start, Succession
from forksocks.process.table import Table
from forksocks.process.users_watch import EVERY

__all__ = ["Start", "StartError", "run"]


def run(start: Start) -> int:
    """Serve until a signal ends it; return the exit status. Raises StartError."""
    kernel.refuse_core_dumps()
    try:
        identity = privileges.identity(start.config.server.user)
    except privileges.NoSuchUser as error:
        raise StartError(str(error), status=2) from error
    return Supervisor(start, identity).run()


class Supervisor:
    """The processes of one server. Main thread only."""

    def __init__(self, start: Start, identity: privileges.Identity | None) -> None:
        self._actions: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._interrupt,
            signal.SIGQUIT: self._stop_now,
            signal.SIGHUP: self._reload_or_stop,
            signal.SIGUSR1: self._reopen_logs,
            signal.SIGUSR2: self._upgrade,
            signal.SIGWINCH: self._stand_by,
            signal.SIGTTIN: lambda: self._succession.change_workers(Generation.grow),
            signal.SIGTTOU: lambda: self._succession.change_workers(Generation.shrink),
            signal.SIGCHLD: lambda: None,  # the loop reaps in any case
        }
        self._terminal = orders.Terminal(start.program.ignores_hangup)
        ignored = orders.OF_TERMINALS if self._terminal.is_there else ()
        self._start = start
        self._stopping = False
        # Before anything is opened: what arrives from here on waits for the loop, and the end is a clean one.
        self._signals = signals.SignalQueue(self._actions.keys() - set(ignored), ignored)
        with contextlib.ExitStack() as made:
            made.callback(self._signals.close)
            self._succession = Succession(start, identity)
            made.callback(self._succession.close)
            self._generations = self._succession.everyone
            try:
                self._ledger = Ledger(self._generations, self._succession.outcomes)
            except OSError as error:
                raise StartError(f"cannot make room for the scoreboard: {error.strerror}") from error
            made.pop_all()
        self._poller = select.poll()
        self._handover = Handover(start, self._succession, self._poller, self._ledger)
        self._bans = KeptBans(privileges.owners(identity), lambda: self._succession.log)
        self._bans.restore(start.config.auth.lockout.file, self._succession.serving.bans)
        self._poller.register(self._signals.fileno(), select.POLLIN)
        in_container = container.container_sign(os.environ) is not None
        as_parent = birth.Parent(
            self._signals, in_container, self._generations, self._ledger.books, self._handover
        )
        self._table = Table(self._succession, as_parent, self._ledger, self._poller)

    def run(self) -> int:
        """Serve until a signal ends it; return the exit status. Raises StartError."""
        gc.freeze()  # what is here now is shared with every child: leave its pages alone
        try:
            self._supervise()
        except StartError:
            self._table.kill_all()
            raise
        except BaseException as error:
            self._succession.log.crash(error)  # a bug of ours: the children see our end, and drain
            raise
        finally:
            self._clean_up()
        return 0

    def _supervise(self) -> None:
        while not self._is_over():
            self._table.fill_vacancies()
            for descriptor, _ in self._poller.poll(self._patience() * 1000):
                if descriptor == self._signals.fileno():
                    for number in self._signals.take():
                        self._actions[number]()
                elif not self._handover.hears(descriptor):
                    self._table.hear(descriptor)
            self._table.reap_the_dead()
            self._table.condemn_the_silent()
            self._succession.relieve()
            self._succession.settle()
            self._handover.look()
            self._terminal.look()
            self._succession.serving.hand_on_users()
            self._keep_bans(self._bans.look)
            self._ledger.publish(self._state, self._succession.serving)
            self._start.notifier.look(self._status)

    def _is_over(self) -> bool:
        ends = self._stopping or self._handover.is_done
        return ends and all(each.is_gone for each in self._generations)

    def _patience(self) -> float:
        """Seconds until something has to be looked at although nobody has called."""
        due = [at for each in self._generations for at in each.due()]
        due += [*self._handover.due(), *self._start.notifier.due()]
        return min([EVERY, *(max(0.0, at - monotonic()) for at in due)])

    @property
    def _state(self) -> str:
        if self._stopping:
            return "stopping"
        if self._succession.serving.stands_by:
            return "drained"
        return "running" if self._succession.current else "starting"

    @property
    def _status(self) -> str:
        serving = self._succession.serving
        workers = sum(worker.ready for worker in serving.workers)
        return f"{self._succession.connections} connections, {workers} workers, generation {serving.number}"

    def _keep_bans(self, how: Callable[[Path | None, Page], None]) -> None:
        """Have what is known of bans outlive us, unless another program is the server."""
        serving = self._succession.serving
        if self._handover.is_ours:
            how(serving.config.auth.lockout.file, serving.bans)

    # What signals ask for

    def _reload_or_stop(self) -> None:
        """Go over to the configuration as it is now; a terminal that hangs up wants us gone."""
        if self._stopping:
            return
        if self._terminal.has_hung_up():
            self._stop()
        elif not self._handover.takes_reload():
            self._succession.reload()

    def _upgrade(self) -> None:
        """Start the program anew beside us."""
        if not self._stopping:
            self._keep_bans(self._bans.save)  # which the new program reads
            self._handover.begin()

    def _stand_by(self) -> None:
        """Stay without workers, as the step by hand between two programs."""
        if not self._stopping:
            self._succession.log.notice("standing-by", connections=self._succession.connections)
            self._succession.stand_by(None)

    def _reopen_logs(self) -> None:
        """Open the log files by their names again, for rotation."""
        reopened = [each.reopen_log() for each in self._generations]
        if any(reopened):
            self._succession.log.notice("log-reopened")

    # End

    def _interrupt(self) -> None:
        """Ctrl-C: stop, and let who pressed it know what it takes."""
        first = not self._stopping
        self._stop()
        if first and (waiting := self._succession.connections):
            them, those = ("1 connection", "it") if waiting == 1 else (f"{waiting} connections", "them")
            orders.tell_terminal(f"waiting for {them} to finish; Ctrl-C again ends {those} now")

    def _stop(self) -> None:
        """Drain; asked for the second time, end now."""
        if self._stopping:
            self._stop_now()
            return
        self._begin_to_stop(signal.SIGTERM, self._succession.serving.config.server.drain)

    def _stop_now(self) -> None:
        self._begin_to_stop(signal.SIGQUIT, 0.0)

    def _begin_to_stop(self, number: int, seconds: float) -> None:
        self._succession.log.notice("stopping", drain=seconds, connections=self._succession.connections)
        self._start.notifier.stopping(seconds + 2 * MERCY)
        self._stopping = True
        self._handover.stop()
        self._succession.end(number, seconds)

    def _clean_up(self) -> None:
        """Leave no socket or name behind, however we end."""
        self._ledger.estate.update(final=True)
        self._keep_bans(self._bans.save)
        self._signals.close()
        if self._stopping or self._succession.current is not None:
            self._succession.log.notice("stopped")
        self._succession.close()
        self._handover.close()
