"""Which generation serves, which one comes, which ones go: reloads, from the reading to the last of the old.

A reload begins a generation beside the one that serves. Only when every process of it is ready does the one
before retire; whatever goes wrong until then ends the new one and changes nothing else. Reloads that are
asked for meanwhile become one, which reads the file after they were asked for.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import setproctitle

from forksocks import __version__
from forksocks.access.rules import Rules
from forksocks.config.model import Config
from forksocks.config.problems import ConfigError
from forksocks.host.deadline import Deadline
from forksocks.host.log import Log
from forksocks.host.notify import Notifier
from forksocks.host.sandbox.privileges import Identity
from forksocks.host.sandbox.report import summary
from forksocks.host.scoreboard.claims import ClaimPool
from forksocks.process import reload
from forksocks.process.beginning import StartError, begin
from forksocks.process.generation import Generation
from forksocks.process.listeners import Endpoint, listen_again
from forksocks.process.outcomes import Outcomes
from forksocks.process.pidfile import PidFile
from forksocks.process.predecessor import Predecessor
from forksocks.process.upgrade import Program
from forksocks.process.withdrawal import withdraw

# Seconds that a start waits for an address which the workers of a killed server are about to let go.
PATIENCE = 5.0
# Seconds that a reload waits for the workers before to accept no more; it takes them a tick of accept.
LETS_GO = 5.0


@dataclass(frozen=True, slots=True)
class Start:
    """What a server is started with.

    rules: those of the configuration. reread: reads both again as they were read at the start; raises
    ConfigError. announce: called
    once, with the addresses really bound, when every worker serves. inherited: sockets that listen already.
    predecessor: who hands over to us. pidfile: ours already, unless we have a predecessor. program: how to
    start this program again.
    """

    config: Config
    rules: Rules
    reread: Callable[[], tuple[Config, Rules]]
    announce: Callable[[tuple[str, ...]], None]
    program: Program
    inherited: Sequence[Endpoint] = ()
    predecessor: Predecessor = field(default_factory=Predecessor)
    pidfile: PidFile | None = None
    notifier: Notifier = field(default_factory=Notifier)


class Succession:
    """The generations of one server. `everyone` has them all, oldest first, until they are gone."""

    def __init__(self, start: Start, identity: Identity | None) -> None:
        self._start = start
        self._identity = identity
        self._numbers = count(1)
        self._claims = ClaimPool()
        self.current: Generation | None = None  # who serves
        self.coming: Generation | None = None  # who will, as soon as it is ready
        self._leaving: Generation | None = None  # who did, until its workers accept no more
        self._lets_go = Deadline(0.0)
        self._again = False
        # Since an upgrade was begun another program may have them too: what is done to one is done to both.
        self.shares_sockets = False
        self.outcomes = Outcomes()
        first = begin(
            next(self._numbers),
            start.config,
            start.rules,
            identity,
            start.inherited,
            patience=PATIENCE,
            claims=self._claims,
        )
        first.sandbox.trim_supervisor()
        for endpoint in start.inherited:
            if endpoint not in first.all_endpoints:
                first.log.notice("inherited-unused", address=str(endpoint.at), name=endpoint.name)
                endpoint.close()
        self.coming = first
        self.everyone = [first]
        self._show_title()

    @property
    def serving(self) -> Generation:
        """Who serves, or is about to for the first time."""
        return self.current or self.everyone[-1]

    @property
    def log(self) -> Log:
        """The log of whoever serves."""
        return self.serving.log

    @property
    def is_changing(self) -> bool:
        """Whether somebody comes, or the one before still accepts."""
        return self.current is None or bool(self.coming or self._leaving)

    @property
    def connections(self) -> int:
        """How many clients are served, by whichever generation."""
        return sum(each.connections for each in self.everyone)

    def reload(self) -> None:
        """Read the configuration again and begin a generation by it; an error leaves all as it is."""
        before = self.current
        if before is None or self.is_changing:
            self._again = True  # the file was read before this was asked for
            return
        self.outcomes.reload.begin()
        self._start.notifier.reloading()
        try:
            config, rules = self._start.reread()
            config, ignored = reload.admitted(before.config, config)
            self._begin(config, rules, before)
        except (ConfigError, StartError, reload.Refused) as error:
            for line in str(error).splitlines():
                self.log.error("reload-refused", error=line)
            self.outcomes.reload.fail(str(error))
            self._start.notifier.ready()
            return
        if ignored:
            self.log.error("reload-ignores", keys=",".join(ignored), needs="a restart or an upgrade")

    def revive(self) -> None:
        """Serve again by the configuration that is in force, after `stand_by`."""
        if self.current is None or self.coming or not self.current.ending:
            return
        try:
            self._begin(self.current.config, self.current.rules, self.current)
        except StartError as error:
            self.log.error("reload-failed", error=str(error))

    def _begin(self, config: Config, rules: Rules, before: Generation) -> None:
        ports = {endpoint.at.port for each in self.everyone for endpoint in each.endpoints}
        number = next(self._numbers)
        self.coming = begin(
            number, config, rules, self._identity, before.all_endpoints, ports, claims=self._claims
        )
        self.everyone.append(self.coming)

    def stand_by(self, seconds: float | None) -> None:
        """Let the workers finish and start no more, but go on listening; None: they may take all the time."""
        if self.current is None:
            return
        if self.coming is not None:
            self.give_up(self.coming, "told to stand by")
        self._again = False
        if seconds is None:
            self.current.stand_by()
        else:
            for each in self.everyone:
                each.end(signal.SIGTERM, seconds)
                each.end_admin()  # whoever took over answers from here on

    def change_workers(self, change: Callable[[Generation], None]) -> None:
        """One worker more or less, for as long as this generation serves."""
        current = self.current
        if current is None or current.ending:
            return
        try:
            change(current)
        except OSError as error:
            self.log.error("no-worker-more", error=error.strerror)
            return
        self.log.notice("workers-changed", workers=sum(not worker.leaves for worker in current.workers))

    def relieve(self) -> None:
        """Replace a worker that has outgrown its memory before the kernel kills one for it."""
        current = self.current
        if current is None or current.ending or self.coming is not None:
            return
        if (found := current.outgrown()) is None:
            return
        worker, has = found
        limit = current.config.server.most_memory
        self.log.error("worker-outgrown", child=worker.name, pid=worker.pid, memory=has, limit=limit)
        try:
            current.relieve(worker)
        except OSError as error:
            self.log.error("no-worker-more", error=error.strerror)

    def settle(self) -> None:
        """See how far everyone is, and take the next step where one is due."""
        coming = self.coming
        if coming is not None and coming.is_ready:
            self._promote(coming)
        elif coming is not None and coming.is_late and self.current is not None:
            self.give_up(coming, f"not ready after {coming.age:.0f} s")
        if self._leaving is not None and (not self._leaving.accepts or self._lets_go.passed()):
            self._say_that_it_is_done(self._leaving)
        if self._again and not (self.coming or self._leaving):
            self._again = False
            self.reload()
        self._see_to_the_old()

    def give_up(self, coming: Generation, why: str, status: int = 1) -> None:
        """It will not serve: go on with the one before. Raises StartError if there is none."""
        if self.current is None:
            raise StartError(why, status)
        self.coming = None
        self.log.error("reload-failed", error=why, kept=f"generation {self.current.number}")
        self.outcomes.reload.fail(why)
        coming.retire()
        _close_all_but(self.current, coming)
        self._start.notifier.ready()

    def end(self, number: int, seconds: float) -> None:
        """Stop listening, and tell everyone to end."""
        self.coming = self._leaving = None
        self._again = False
        for each in self.everyone:
            for endpoint in each.endpoints:
                endpoint.socket.close()
            each.end(number, seconds)

    def close(self) -> None:
        """Give everything back once all processes have ended."""
        for each in self.everyone:
            for endpoint in each.all_endpoints:
                endpoint.close()
            each.close()

    def _promote(self, coming: Generation) -> None:
        """It serves: let the one before retire, and close the addresses that vanished."""
        before, self.current, self.coming = self.current, coming, None
        self._show_title()
        listen_again(coming.listeners)
        for worker in coming.workers:
            worker.serve()
        if before is None:
            self._start.announce(coming.addresses)  # a person first reads that, and then what the log says
            self.log.notice(
                "started", version=__version__, listen=",".join(coming.addresses),
                workers=coming.config.server.workers, threads=coming.config.server.threads,
                reduced=coming.reduced,
            )  # fmt: skip
            _report_capacity(coming)
            self._report_sandbox(coming)
            return
        if not self.shares_sockets:
            withdraw([each.socket for each in _alone(before, coming) if each.name is None])
        before.retire()
        _close_all_but(coming, before)
        for each in self.everyone[:-1]:
            each.reopen_log()
        self._leaving, self._lets_go = before, Deadline(LETS_GO)

    def _say_that_it_is_done(self, before: Generation) -> None:
        """From here on nobody is admitted by the configuration before."""
        self._leaving = None
        serving = self.serving
        changed = ",".join(reload.changes(before.config, serving.config)) or "nothing"
        self.outcomes.reload.succeed(changed)
        self.log.notice(
            "reloaded", generation=serving.number, listen=",".join(serving.addresses),
            workers=serving.config.server.workers, changed=changed, took=serving.age,
            reduced=serving.reduced,
        )  # fmt: skip
        _report_capacity(serving)
        self._report_sandbox(serving)
        self._start.notifier.ready()

    def _report_sandbox(self, serving: Generation) -> None:
        """Say in one line which layers hold, and which are missing and why."""
        held, missing = summary(child.sandbox for child in (*serving.workers, serving.agent))
        mode = serving.config.server.sandbox
        self.log.notice("sandbox", mode=mode.value, holds=held or None, missing=missing or None)

    def _see_to_the_old(self) -> None:
        """Press those that should have ended; forget those that are gone."""
        for each in list(self.everyone):
            each.kill_overdue()
            each.forget_who_left()
            if each.is_gone and each is not self.serving:
                self.everyone.remove(each)
                each.close()

    def _show_title(self) -> None:
        text = f"{' '.join(self.serving.addresses)}, generation {self.serving.number}"
        setproctitle.setproctitle(f"forksocks: supervisor [{text}]")


def _report_capacity(serving: Generation) -> None:
    """Say in one line which limits leave less than what is configured."""
    if serving.short is not None:
        serving.log.notice("capacity-limited", limits=serving.short, see="forksocksctl doctor")


def _close_all_but(kept: Generation, other: Generation) -> None:
    """Close what the other generation listens on alone."""
    for endpoint in _alone(other, kept):
        endpoint.socket.close()
        endpoint.remove_name()


def _alone(one: Generation, other: Generation) -> list[Endpoint]:
    """Where only the first of two generations listens."""
    sockets = {endpoint.socket for endpoint in other.all_endpoints}
    return [endpoint for endpoint in one.all_endpoints if endpoint.socket not in sockets]
