from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from forksocks.access.helper import TRIES, Helpers, Pipes
from forksocks.access.passwords import Unavailable
from forksocks.config.model import HelperConfig, Level
from forksocks.host.deadline import Deadline
from forksocks.host.log import Log
from tests.host.log.helpers import drain, log_on, until

LONG = 60.0


class Program:
    """A helper whose part the test plays: it reads questions and says what it likes."""

    def __init__(self, helpers: Helpers, pid: int) -> None:
        self.questions, asking = os.pipe()
        os.set_blocking(asking, False)
        answers, self.answers = os.pipe()
        remarks, self.remarks = os.pipe()
        self._file = os.fdopen(self.questions, "rb")
        helpers.add(pid, Pipes(asking, answers, remarks))

    def read(self) -> bytes:
        """The next question; b"" when nobody will ask any more."""
        return self._file.readline()

    def say(self, text: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):
            os.write(self.answers, text)

    def end(self) -> None:
        for descriptor in (self.answers, self.remarks):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.answers = self.remarks = -1
        self._file.close()


class House:
    """The helpers under test, the programs that the test plays, and what was said about them."""

    def __init__(self, log: Log, reading: int) -> None:
        self.faulty: list[int] = []
        self.programs: list[Program] = []
        self._log = log
        self._reading = reading
        self._said = b""

    def open(self, programs: int = 1, concurrency: int = 0, timeout: float = LONG) -> Helpers:
        config = HelperConfig(("/bin/true",), programs, concurrency, timeout)
        self.helpers = Helpers(config, self.faulty.append, self._log)
        for number in range(programs):
            self.add(100 + number)
        return self.helpers

    def add(self, pid: int) -> Program:
        self.programs.append(Program(self.helpers, pid))
        return self.programs[-1]

    def ask(self, name: bytes, password: bytes) -> Future[bool]:
        """Ask in a thread of its own."""
        asked: Future[bool] = Future()

        def run() -> None:
            try:
                asked.set_result(self.helpers.verify(name, password))
            except Exception as error:  # noqa: BLE001 - handed to the test's own thread
                asked.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return asked

    def log(self) -> str:
        self._said += drain(self._reading)
        return self._said.decode()

    def close(self) -> None:
        for program in self.programs:
            program.end()
        self._log.close(1)


@pytest.fixture
def house() -> Iterator[House]:
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    made = House(log_on(writing, level=Level.NOTICE), reading)
    yield made
    made.close()
    os.close(reading)


@pytest.mark.parametrize(("answer", "right"), [(b"OK\n", True), (b"ERR\n", False), (b"OK tag=x\n", True)])
def test_what_it_says_counts(house: House, answer: bytes, right: bool) -> None:
    house.open()
    asked = house.ask(b"alice", b"se cret")
    assert house.programs[0].read() == b"alice se%20cret\n"
    house.programs[0].say(answer)
    assert asked.result(LONG) is right
    assert house.faulty == []


def test_a_name_cannot_forge_a_line(house: House) -> None:
    house.open()
    asked = house.ask(b"bob\nOK", b"x\ny")
    assert house.programs[0].read() == b"bob%0AOK x%0Ay\n"
    house.programs[0].say(b"ERR\n")
    assert asked.result(LONG) is False


def test_a_nul_is_refused_without_asking(house: House) -> None:
    house.open(programs=0)
    assert house.helpers.verify(b"root\0x", b"y") is False


def test_one_question_at_a_time_waits_for_its_turn(house: House) -> None:
    house.open()
    program = house.programs[0]
    asked = [house.ask(b"u", b"p") for _ in range(3)]
    for _ in asked:
        assert program.read() == b"u p\n"
        program.say(b"OK\n")
    assert all(each.result(LONG) for each in asked)


def test_several_programs_share_the_questions(house: House) -> None:
    house.open(programs=2)
    asked = [house.ask(b"u", b"p"), house.ask(b"u", b"p")]
    for program in house.programs:  # each has one, before any has answered
        assert program.read() == b"u p\n"
    for program in house.programs:
        program.say(b"OK\n")
    assert all(each.result(LONG) for each in asked)


def test_channels_are_answered_in_any_order(house: House) -> None:
    house.open(concurrency=2)
    program = house.programs[0]
    asked = {name: house.ask(name, b"p") for name in (b"right", b"wrong")}
    channels = {name: number for number, name, _ in (program.read().split() for _ in asked)}
    program.say(b"%b ERR\n" % channels[b"wrong"])
    assert asked[b"wrong"].result(LONG) is False
    program.say(b"%b OK\n" % channels[b"right"])
    assert asked[b"right"].result(LONG) is True


def test_answers_may_come_in_pieces_and_together(house: House) -> None:
    house.open(concurrency=2)
    program = house.programs[0]
    asked = [house.ask(b"u", b"p") for _ in range(2)]
    assert {program.read()[:1] for _ in asked} == {b"0", b"1"}
    program.say(b"0 O")
    program.say(b"K\n1 OK\n")
    assert all(each.result(LONG) for each in asked)


def test_a_broken_helper_knows_nothing(house: House) -> None:
    house.open()
    asked = house.ask(b"u", b"p")
    house.programs[0].read()
    house.programs[0].say(b"BH message=no%20server\n")
    with pytest.raises(Unavailable, match="no server"):
        asked.result(LONG)
    assert house.faulty == []


@pytest.mark.parametrize(
    ("concurrency", "said"),
    [
        (0, b"what?\n"), (0, b"0 OK\n"), (0, b"OK\nOK\n"), (0, b"ERR\nOK\n"), (0, b"x" * 60_000), (0, b"\n"),
        (4, b"OK\n"), (4, b"17 OK\n"), (4, b"3 ERR\n3 OK\n"), (4, b"-3 OK\n"),
    ],
)  # fmt: skip
def test_what_breaks_the_protocol_is_a_fault_and_nobody_is_let_in(
    house: House, concurrency: int, said: bytes
) -> None:
    house.open(concurrency=concurrency)
    asked = house.ask(b"u", b"p")
    assert house.programs[0].read() == (b"3 u p\n" if concurrency else b"u p\n")
    house.programs[0].say(said)
    until(lambda: bool(house.faulty))
    assert house.faulty == [100]
    other = house.add(200)  # the question is asked again, and then it is enough
    assert other.read().endswith(b"u p\n")
    other.end()
    with pytest.raises(Unavailable, match="end without an answer"):
        asked.result(LONG)
    assert house.faulty == [100]
    assert house.programs[0].read() == b""  # it is told to end, and asked no more
    until(lambda: "helper-faulty pid=100" in house.log())


def test_an_early_answer_answers_nobody(house: House) -> None:
    house.open(timeout=0.5)
    house.programs[0].say(b"OK\n")
    until(lambda: bool(house.faulty))
    assert house.faulty == [100]
    until(lambda: 'why="an answer to no question"' in house.log())
    with pytest.raises(Unavailable):
        house.helpers.verify(b"u", b"p")


def test_an_answer_that_was_there_before_the_question_is_not_taken(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forksocks.access.helper.Helper.listen", lambda *_: LATE.wait(LONG) and None)
    LATE.clear()
    house.open(timeout=0.1)
    house.programs[0].say(b"OK\n")  # nobody has read it yet
    with pytest.raises(Unavailable):
        house.helpers.verify(b"u", b"p")
    LATE.set()


LATE = threading.Event()


def test_one_that_hangs_is_ended(house: House) -> None:
    house.open(timeout=0.2)
    with pytest.raises(Unavailable, match="does not answer"):
        house.helpers.verify(b"u", b"p")
    until(lambda: 'why="no answer in 0.2 s"' in house.log())
    assert house.faulty == [100]
    assert house.programs[0].read() == b"u p\n"
    assert house.programs[0].read() == b""


def test_who_asks_late_leaves_in_time_and_the_program_has_its_own(house: House) -> None:
    helpers = house.open(timeout=10 * LONG)
    with pytest.raises(Unavailable, match="does not answer"):
        helpers._ask(b"late", b"p", Deadline(0.05))  # noqa: SLF001 - as after a long wait for a free program
    assert house.programs[0].read() == b"late p\n"
    house.programs[0].say(b"OK\n")
    asked = house.ask(b"u", b"p")
    assert house.programs[0].read() == b"u p\n"
    house.programs[0].say(b"ERR\n")
    assert asked.result(LONG) is False, "the answer to the first question is nobody's"
    assert house.faulty == []


def test_one_that_answers_others_and_not_one_question_is_ended(house: House) -> None:
    house.open(concurrency=2, timeout=0.5)
    forgotten = house.ask(b"forgotten", b"p")
    program = house.programs[0]
    assert program.read() == b"1 forgotten p\n"
    while not house.faulty:
        house.ask(b"u", b"p")
        if program.read():
            program.say(b"0 OK\n")
    with pytest.raises(Unavailable, match="does not answer"):
        forgotten.result(LONG)


def test_one_that_does_not_read_is_ended(house: House) -> None:
    house.open(timeout=0.2)
    full = os.open(f"/proc/self/fd/{house.programs[0].questions}", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(full, b"x" * 4096)
    os.close(full)
    with pytest.raises(Unavailable):
        house.helpers.verify(b"u", b"p")
    until(lambda: house.faulty == [100])


def test_questions_of_one_that_dies_are_asked_of_another(house: House) -> None:
    house.open()
    asked = house.ask(b"u", b"p")
    house.programs[0].read()
    house.programs[0].end()
    other = house.add(200)
    assert other.read() == b"u p\n"
    other.say(b"OK\n")
    assert asked.result(LONG) is True
    assert house.faulty == []


def test_a_question_that_kills_is_not_asked_for_ever(house: House) -> None:
    house.open(programs=TRIES + 1)
    asked = house.ask(b"u", b"p")
    victims = list(house.programs)
    for _ in range(TRIES):
        victim = _who_was_asked(victims)
        victims.remove(victim)
        victim.end()
    with pytest.raises(Unavailable, match="end without an answer"):
        asked.result(LONG)
    assert not _readable(victims[0].questions)


def _who_was_asked(programs: list[Program]) -> Program:
    found: list[Program] = []

    def look() -> bool:
        found[:] = [each for each in programs if _readable(each.questions)]
        return bool(found)

    until(look)
    return found[0]


def _readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def test_without_any_nobody_is_let_in(house: House) -> None:
    house.open(programs=0, timeout=0.1)
    with pytest.raises(Unavailable, match="no helper runs"):
        house.helpers.verify(b"u", b"p")


def test_when_all_are_busy_the_question_gives_up_and_they_live(house: House) -> None:
    house.open(timeout=0.3)
    first = house.ask(b"u", b"p")
    house.programs[0].read()
    late = house.ask(b"v", b"p")
    with pytest.raises(Unavailable):
        late.result(LONG)
    with pytest.raises(Unavailable):
        first.result(LONG)


def test_remarks_are_logged_escaped_and_counted(house: House) -> None:
    house.open()
    os.write(house.programs[0].remarks, b"cannot bind to \x1b[2J\n\n" + b"y" * 3000 + b"\n")
    until(lambda: r"cannot bind to \x1b[2J" in house.log())
    os.write(house.programs[0].remarks, b"z\n" * 100)
    until(lambda: house.log().count("text=z") > 0)
    os.write(house.programs[0].remarks, b"last words")
    house.programs[0].end()
    until(lambda: bool(house.helpers) and not house.helpers._helpers)  # noqa: SLF001 - its end is the point
    assert house.log().count("text=z") < 10


def test_nothing_is_left_open(house: House) -> None:
    before = _open_descriptors()
    house.open(programs=3)
    for program in house.programs:
        program.end()
    until(lambda: not house.helpers._helpers)  # noqa: SLF001
    until(lambda: _open_descriptors() <= before)


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
