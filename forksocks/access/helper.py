"""Passwords checked by helper programs, in the protocol of Squid's basic authentication helpers.

Somebody else starts the programs and hands their pipes in (`add`); here they are asked. A thread for each
program reads what it says, so an answer that nobody asked for, a line without end or the program's death is
seen at once. A program that breaks the protocol or leaves a question unanswered is never asked again: whoever
started it is told (`faulty`), ends it and starts another.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields
from time import monotonic

from forksocks.access.passwords import Unavailable
from forksocks.config.model import HelperConfig
from forksocks.host.deadline import Deadline
from forksocks.host.log import Log
from forksocks.host.log.flood import Flood
from forksocks.wire import helper as protocol
from forksocks.wire.helper import Answer, Result
from forksocks.wire.messages import ProtocolError

# A program that died of something else takes the questions it had with it: they are asked once more. Not more
# often, for it may have been the question.
TRIES = 2
LONGEST_REMARK = 500  # bytes of a line on standard error
CHUNK = 4096

Faulty = Callable[[int], None]


class Gone(Exception):
    """The program ended, or broke the protocol, before it answered."""


@dataclass(frozen=True, slots=True)
class Pipes:
    """A program's three standard descriptors, seen from here; writing to `questions` does not block."""

    questions: int
    answers: int
    remarks: int


PIPES = tuple(field.name for field in fields(Pipes))


class Helper:
    """One running program: `ask` from any thread, `listen` in a thread of its own until it is gone."""

    def __init__(self, pid: int, pipes: Pipes, config: HelperConfig) -> None:
        concurrency = config.concurrency
        self.pid = pid
        self._timeout = config.timeout
        self._pipes = pipes
        self._numbered = concurrency > 0
        self._free = list(range(max(1, concurrency)))
        self._pending: dict[int, tuple[Future[Answer], Deadline]] = {}  # the oldest first
        self._lock = threading.Lock()
        self._why = ""  # why it may not be asked any more

    @property
    def room(self) -> int:
        """How many questions it would take now."""
        return 0 if self._why else len(self._free)

    def ask(self, name: bytes, password: bytes) -> Future[Answer] | None:
        """Ask, unless it is busy or gone; the answer may be Gone."""
        with self._lock:
            if not self.room or (not self._pending and self._has_spoken()):
                return None
            channel = self._free.pop()
            waiting: Future[Answer] = Future()
            self._pending[channel] = waiting, Deadline(self._timeout)
            line = protocol.question(name, password, channel if self._numbered else None)
            # Shorter than PIPE_BUF, so the whole line or nothing (pipe(7)). Nothing: it does not read, and
            # will not answer in time; or it has ended, which `listen` is about to see.
            with contextlib.suppress(OSError):
                os.write(self._pipes.questions, line)
            return waiting

    def _has_spoken(self) -> bool:
        """Whether it says something although nothing was asked; what comes too early must answer nobody."""
        poller = select.poll()
        poller.register(self._pipes.answers, select.POLLIN)
        return bool(poller.poll(0))

    def end(self, why: str) -> bool:
        """Ask it no more, and let nobody wait for it; False if that was so before."""
        with self._lock:
            if self._why:
                return False
            self._why = why
            os.close(self._pipes.questions)  # most programs end when they read the end
            for waiting, _ in self._pending.values():
                waiting.set_exception(Gone(why))
            self._pending.clear()
            return True

    def listen(self, answered: Callable[[], None], remark: Callable[[str], None]) -> str | None:
        """Read until it is gone; return what it did wrong, None if it simply ended."""
        answers, remarks = _Lines(protocol.LONGEST_ANSWER), _Lines(LONGEST_REMARK)
        poller = select.poll()
        poller.register(self._pipes.answers, select.POLLIN)
        poller.register(self._pipes.remarks, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poller.poll(self._oldest().milliseconds())]
            if self._pipes.remarks in ready:
                data = os.read(self._pipes.remarks, CHUNK)
                if not data:
                    poller.unregister(self._pipes.remarks)
                for line in filter(None, remarks.take(data)):
                    remark(line.decode("utf-8", "backslashreplace"))
            if self._pipes.answers in ready:
                data = os.read(self._pipes.answers, CHUNK)
                if not data:
                    return None
                if wrong := self._hear(answers.take(data)):
                    return wrong
                answered()
            if self._pending and self._oldest().passed():
                return f"no answer in {self._timeout:g} s"

    def close(self) -> None:
        """Give the pipes back; once nobody listens."""
        self.end("it has ended")
        os.close(self._pipes.answers)
        os.close(self._pipes.remarks)

    def _oldest(self) -> Deadline:
        """By when the next answer has to come; if none has to, the one to a question that is asked now."""
        with self._lock:
            return next((due for _, due in self._pending.values()), Deadline(self._timeout))

    def _hear(self, lines: Sequence[bytes]) -> str | None:
        """Hand answers to those who wait for them; what is wrong with them otherwise.

        All that came together is judged together, before anyone can ask anew: of two answers to one question
        none is believed, and the second never answers the next question.
        """
        with self._lock:
            if self._why:
                return None  # nobody waits any more, and why is known
            heard: list[tuple[Future[Answer], Answer]] = []
            for line in lines:
                try:
                    answer = protocol.read_answer(line, self._numbered)
                except ProtocolError as error:
                    return str(error)
                if answer.channel not in self._pending or any(answer.channel == a.channel for _, a in heard):
                    return "an answer to no question"
                heard.append((self._pending[answer.channel][0], answer))
            for waiting, answer in heard:
                del self._pending[answer.channel]
                self._free.append(answer.channel)
                waiting.set_result(answer)
        return None


class Helpers:
    """All running programs of one kind. Thread-safe.

    faulty: called with the pid of a program that must be ended.
    """

    def __init__(self, config: HelperConfig, faulty: Faulty, log: Log) -> None:
        self._config = config
        self._faulty = faulty
        self._log = log
        self._flood = Flood()
        self._helpers: list[Helper] = []
        self._changed = threading.Condition()

    def add(self, pid: int, pipes: Pipes) -> None:
        """Ask this program too, until it is gone; the pipes become ours."""
        helper = Helper(pid, pipes, self._config)
        with self._changed:
            self._helpers.append(helper)
            self._changed.notify_all()
        threading.Thread(target=self._attend, args=(helper,), daemon=True).start()

    def verify(self, name: bytes, password: bytes) -> bool:
        """Whether a program says that they belong together; raises Unavailable when none can tell in time."""
        if not protocol.can_be_asked(name, password):
            return False
        deadline = Deadline(self._config.timeout)
        for _ in range(TRIES):
            with contextlib.suppress(Gone):
                answer = self._ask(name, password, deadline)
                if answer.result is Result.BH:
                    raise Unavailable(
                        f"the helper says: {answer.message.decode('utf-8', 'backslashreplace')}"
                    )
                return answer.result is Result.OK
        raise Unavailable("the helpers end without an answer")

    def _ask(self, name: bytes, password: bytes, deadline: Deadline) -> Answer:
        """Ask the first program that has room. Raises Unavailable or Gone.

        A program that is asked late has its own time all the same: whoever reads what it says ends it.
        """
        with self._changed:
            while (waiting := self._find_one(name, password)) is None:
                if deadline.passed():
                    raise Unavailable("no helper is free" if self._helpers else "no helper runs")
                self._changed.wait(deadline.remaining())
        try:
            return waiting.result(deadline.remaining())
        except TimeoutError:
            raise Unavailable("a helper does not answer") from None
        except Gone:
            if deadline.passed():  # it had all the time that there was
                raise Unavailable("a helper does not answer") from None
            raise

    def _find_one(self, name: bytes, password: bytes) -> Future[Answer] | None:
        for helper in sorted(self._helpers, key=lambda each: each.room, reverse=True):
            waiting = helper.ask(name, password)
            if waiting is not None:
                return waiting
        return None

    def _attend(self, helper: Helper) -> None:
        """A program's own thread."""
        wrong = None
        try:
            wrong = helper.listen(self._came_free, lambda text: self._remark(helper, text))
        except Exception as error:  # noqa: BLE001 - askers would wait for a program that nobody hears
            self._log.crash(error)
            wrong = "a bug"
        if wrong:
            self._end(helper, wrong)
        with self._changed:
            self._helpers.remove(helper)
            self._changed.notify_all()
        helper.close()

    def _came_free(self) -> None:
        with self._changed:
            self._changed.notify()

    def _remark(self, helper: Helper, text: str) -> None:
        now = monotonic()
        for pid, lines in self._flood.settle(now):
            self._log.notice("helper-says", pid=pid, more=lines)
        if self._flood.admits(str(helper.pid), now):
            self._log.notice("helper-says", pid=helper.pid, text=text)

    def _end(self, helper: Helper, why: str) -> None:
        if helper.end(why):
            self._log.error("helper-faulty", pid=helper.pid, why=why)
            self._faulty(helper.pid)


class _Lines:
    """Bytes put together to lines; one that is too long comes in pieces that are one byte too long."""

    def __init__(self, longest: int) -> None:
        self._piece = longest + 1
        self._rest = b""

    def take(self, data: bytes) -> list[bytes]:
        """What is complete now, without newlines; at the end (b"") what is left too."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) >= self._piece or not data:
            whole.append(self._rest)
            self._rest = b""
        return [line[at : at + self._piece] for line in whole for at in range(0, len(line) or 1, self._piece)]
