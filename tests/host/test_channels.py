"""Channels with real sockets: whatever dies, is late or does not read, nobody gets another one's answer."""

from __future__ import annotations

import contextlib
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forksocks.host import channels
from forksocks.host.channels import HELLO, LARGEST, TAG, Busy, Channels, serve
from forksocks.host.deadline import Deadline
from tests.machine import LONG, wait_until

SHORT = 0.05  # seconds after which an asking test gives up


class Line:
    """Some channels, both ends of each, as the supervisor keeps them."""

    def __init__(self, number: int) -> None:
        pairs = [channels.pair() for _ in range(number)]
        self.asking = [ours for ours, _ in pairs]
        self.answering = [theirs for _, theirs in pairs]
        self.threads: list[threading.Thread] = []

    def answer(self, how: Callable[[bytes], bytes], copies: Sequence[socket.socket] | None = None) -> None:
        """Start an answering process's threads."""
        for sock in copies or self.answering:
            self.threads.append(threading.Thread(target=serve, args=(sock, how)))
            self.threads[-1].start()

    def close(self) -> None:
        for sock in self.asking:
            sock.close()
        for thread in self.threads:
            thread.join(LONG)
            assert not thread.is_alive()
        for sock in self.answering:
            sock.close()


@pytest.fixture
def line() -> Iterator[Callable[[int], Line]]:
    made: list[Line] = []

    def make(number: int) -> Line:
        made.append(Line(number))
        return made[-1]

    yield make
    for each in made:
        each.close()


class Slow:
    """Answers in capitals; a question that begins with "slow" not before `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.asked: list[bytes] = []

    def __call__(self, question: bytes) -> bytes:
        self.asked.append(question)
        if question.startswith(b"slow"):
            assert self.go.wait(LONG)
        return question.upper()


Make = Callable[[int], Line]


def waiting(asker: Channels, number: int) -> bool:
    """Whether so many wait for a channel, and have done all that they do before they sleep."""
    with vars(asker)["_lock"]:
        return len(vars(asker)["_waiting"]) == number


@pytest.mark.parametrize("share", [1, 3])
def test_many_threads_get_their_own_answers(line: Make, monkeypatch: pytest.MonkeyPatch, share: int) -> None:
    monkeypatch.setattr(channels, "LOOK", 10 * LONG)  # each is woken when it is its turn
    made = line(3)
    made.answer(bytes.upper)
    asker = Channels(made.asking, share)
    wrong: list[bytes] = []

    def ask(number: int) -> None:
        for step in range(50):
            question = b"question %d of %d" % (step, number)
            if asker.ask(question, number % 4, Deadline(LONG)) != question.upper():
                wrong.append(question)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert not wrong


@pytest.mark.parametrize("size", [0, 1, LARGEST - 1, LARGEST])
def test_questions_and_answers_of_every_length_arrive_whole(line: Make, size: int) -> None:
    made = line(1)
    made.answer(lambda question: question[::-1])
    question = random.Random(size).randbytes(size)
    assert Channels(made.asking, 1).ask(question, "me", Deadline(LONG)) == question[::-1]


def test_a_late_answer_is_thrown_away_and_its_channel_lent_only_after_it(line: Make) -> None:
    made, slow = line(1), Slow()
    made.answer(slow)
    asker = Channels(made.asking, 1)
    for _ in range(2):  # the second does not even get the channel: whoever answers there is busy
        with pytest.raises(TimeoutError):
            asker.ask(b"slow", "me", Deadline(SHORT))
    assert slow.asked == [b"slow"]
    slow.go.set()
    assert asker.ask(b"quick", "me", Deadline(LONG)) == b"QUICK"


def test_who_waits_for_a_late_channel_gets_it_when_it_comes_home(line: Make) -> None:
    made, slow = line(1), Slow()
    made.answer(slow)
    asker = Channels(made.asking, 1)
    with pytest.raises(TimeoutError):
        asker.ask(b"slow", "me", Deadline(SHORT))
    got: list[bytes] = []
    waiting = threading.Thread(target=lambda: got.append(asker.ask(b"later", "you", Deadline(LONG))))
    waiting.start()
    slow.go.set()
    waiting.join(LONG)
    assert got == [b"LATER"]


def test_an_answerer_that_dies_in_the_middle_of_a_question_costs_a_delay(line: Make) -> None:
    made = line(1)
    taken = threading.Event()

    def take_and_die() -> None:
        made.answering[0].recv(TAG + LARGEST)
        taken.set()

    dying = threading.Thread(target=take_and_die)
    dying.start()
    asker = Channels(made.asking, 1)
    got: list[bytes] = []
    asking = threading.Thread(target=lambda: got.append(asker.ask(b"again", "me", Deadline(LONG))))
    asking.start()
    assert taken.wait(LONG)
    made.answer(bytes.upper)
    asking.join(LONG)
    dying.join(LONG)
    assert got == [b"AGAIN"]


def test_a_question_waits_for_an_answerer_that_is_not_there_yet(line: Make) -> None:
    made = line(1)
    asker = Channels(made.asking, 1)
    got: list[bytes] = []
    asking = threading.Thread(target=lambda: got.append(asker.ask(b"early", "me", Deadline(LONG))))
    asking.start()
    made.answer(bytes.upper)
    asking.join(LONG)
    assert got == [b"EARLY"]
    # Asked again after the HELLO it was answered twice; the second answer is nobody's.
    assert asker.ask(b"next", "me", Deadline(LONG)) == b"NEXT"


def test_a_late_channel_comes_home_with_a_new_answerer(line: Make) -> None:
    made = line(1)
    asker = Channels(made.asking, 1)
    with pytest.raises(TimeoutError):
        asker.ask(b"lost", "me", Deadline(SHORT))
    made.answering[0].recv(TAG + LARGEST)  # by one that dies over it
    made.answer(bytes.upper)
    assert asker.ask(b"found", "me", Deadline(LONG)) == b"FOUND"


def test_a_new_asker_is_not_given_the_old_ones_answer(line: Make) -> None:
    made = line(1)
    (answering,) = made.answering
    with pytest.raises(TimeoutError):
        Channels(made.asking, 1).ask(b"secret", "me", Deadline(SHORT))
    old = answering.recv(TAG + LARGEST)
    # Its successor after its death: the same channel, and it counts from 1 too.
    successor = Channels(made.asking, 1)
    got: list[bytes] = []
    asking = threading.Thread(target=lambda: got.append(successor.ask(b"mine", "me", Deadline(LONG))))
    asking.start()
    new = answering.recv(TAG + LARGEST)
    for question in (old, new):
        answering.send(question[:TAG] + question[TAG:].upper())
    asking.join(LONG)
    assert got == [b"MINE"]


def test_a_slow_asker_leaves_channels_to_others(line: Make) -> None:
    made, slow = line(3), Slow()
    made.answer(slow)
    asker = Channels(made.asking, share=2)
    threads = [threading.Thread(target=asker.ask, args=(b"slow", "greedy", Deadline(LONG))) for _ in range(2)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(slow.asked) == 2)
    with pytest.raises(TimeoutError):
        asker.ask(b"third", "greedy", Deadline(SHORT))
    assert asker.ask(b"other", "modest", Deadline(LONG)) == b"OTHER"
    slow.go.set()
    for thread in threads:
        thread.join(LONG)
    assert asker.ask(b"third", "greedy", Deadline(LONG)) == b"THIRD"


def test_however_many_waste_answers_whoever_is_new_gets_one(line: Make) -> None:
    """Each of them holds its share of channels that never answer, but for the last ones."""
    made, slow = line(8), Slow()
    made.answer(slow)
    asker = Channels(made.asking, share=4)
    for who in range(8):
        asker.wasted(who)
    threads = [
        threading.Thread(target=asker.ask, args=(b"slow", who, Deadline(LONG)))
        for who in range(8)
        for _ in "12"
    ]
    for thread in threads:
        thread.start()
    wait_until(partial(waiting, asker, 10))
    wait_until(lambda: len(slow.asked) == 6)
    assert asker.ask(b"other", "modest", Deadline(LONG)) == b"OTHER"
    asker.wasted("modest")
    with pytest.raises(TimeoutError):
        asker.ask(b"other", "modest", Deadline(SHORT))
    slow.go.set()
    for thread in threads:
        thread.join(LONG)
    assert asker.ask(b"other", "modest", Deadline(LONG)) == b"OTHER"


def test_who_waits_with_nothing_under_way_is_called_before_those_who_wasted(
    line: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "LOOK", 10 * LONG)
    made, slow = line(1), Slow()
    made.answer(slow)
    asker = Channels(made.asking, share=1)
    asker.wasted("guesser")
    got: list[bytes] = []

    def ask(question: bytes, who: str) -> threading.Thread:
        asking = threading.Thread(target=lambda: got.append(asker.ask(question, who, Deadline(LONG))))
        asking.start()
        return asking

    threads = [ask(b"slow", "anyone")]
    wait_until(lambda: len(slow.asked) == 1)
    for number, (question, who) in enumerate([(b"guess", "guesser"), (b"right", "user")], 1):
        threads.append(ask(question, who))
        wait_until(partial(waiting, asker, number))
    slow.go.set()
    for thread in threads:
        thread.join(LONG)
    assert got == [b"SLOW", b"RIGHT", b"GUESS"]


def test_who_is_woken_is_one_who_can_take_the_channel(line: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of "me" waits first, but its share is used up: the channel that comes free is for "you"."""
    monkeypatch.setattr(channels, "LOOK", 10 * LONG)
    made, mine, others = line(2), Slow(), Slow()
    made.answer(lambda question: (mine if question.endswith(b"mine") else others)(question))
    asker = Channels(made.asking, share=1)
    got: list[bytes] = []

    def ask(question: bytes, who: str) -> threading.Thread:
        asking = threading.Thread(target=lambda: got.append(asker.ask(question, who, Deadline(LONG))))
        asking.start()
        return asking

    threads = [ask(b"slow, mine", "me"), ask(b"slow, another's", "another")]
    wait_until(lambda: bool(mine.asked and others.asked))
    for number, (question, who) in enumerate([(b"mine", "me"), (b"yours", "you")], 1):
        threads.append(ask(question, who))
        wait_until(partial(waiting, asker, number))
    others.go.set()
    threads[-1].join(LONG)
    assert got == [b"SLOW, ANOTHER'S", b"YOURS"]
    mine.go.set()
    for thread in threads:
        thread.join(LONG)
    assert got[2:] == [b"SLOW, MINE", b"MINE"]


def test_channels_that_come_free_at_once_are_all_taken(line: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks last finds three answers come home: one channel is its own, the others are for who waits."""
    made, early, late = line(3), Slow(), Slow()
    made.answer(lambda question: (early if question == b"slow" else late)(question))
    asker = Channels(made.asking, share=3)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            asker.ask(b"slow", "me", Deadline(SHORT))
    monkeypatch.setattr(channels, "LOOK", 10 * LONG)
    threads = []
    for number in (1, 2, 0):
        if not number:
            early.go.set()
            for sock in made.asking:
                assert select.select([sock], [], [], LONG)[0]
        threads.append(threading.Thread(target=asker.ask, args=(b"slow too", "you", Deadline(10 * LONG))))
        threads[-1].start()
        wait_until(partial(waiting, asker, number))
    wait_until(lambda: len(late.asked) == 3)
    late.go.set()
    for thread in threads:
        thread.join(LONG)


def test_late_channels_count_against_whose_they_are(line: Make) -> None:
    made, slow = line(2), Slow()
    made.answer(slow)
    asker = Channels(made.asking, share=1)
    for question in (b"slow", b"more"):
        with pytest.raises(TimeoutError):
            asker.ask(question, "greedy", Deadline(SHORT))
    assert asker.ask(b"other", "modest", Deadline(LONG)) == b"OTHER"
    assert slow.asked == [b"slow", b"other"]
    slow.go.set()


def test_without_any_answerer_left_there_is_an_error_at_once(line: Make) -> None:
    made = line(1)
    asker = Channels(made.asking, 1)
    made.answering[0].close()
    for _ in range(2):
        with pytest.raises(ConnectionError):
            asker.ask(b"anyone?", "me", Deadline(LONG))


def test_an_answerer_that_goes_while_it_is_asked_is_an_error(line: Make) -> None:
    made = line(1)
    asker = Channels(made.asking, 1)
    got: list[BaseException] = []

    def ask() -> None:
        try:
            asker.ask(b"anyone?", "me", Deadline(LONG))
        except ConnectionError as error:
            got.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    made.answering[0].recv(TAG + LARGEST)
    made.answering[0].close()
    asking.join(LONG)
    assert len(got) == 1


def test_nobody_waits_to_send_where_nobody_reads(line: Make) -> None:
    made = line(1)
    with contextlib.suppress(BlockingIOError):
        while True:
            made.asking[0].send(bytes(TAG + LARGEST), socket.MSG_DONTWAIT)
    with pytest.raises(TimeoutError):
        Channels(made.asking, 1).ask(b"question", "me", Deadline(SHORT))


def test_an_answerer_does_not_wait_for_an_asker_that_does_not_read(line: Make) -> None:
    made = line(1)
    answered = threading.Semaphore(0)

    def answer(question: bytes) -> bytes:
        answered.release()
        return bytes(LARGEST)

    made.answer(answer)
    for number in range(1000):  # several times what the answers' queue holds
        made.asking[0].send(number.to_bytes(TAG, "big") + b"question")
        assert answered.acquire(timeout=LONG)
    assert Channels(made.asking, 1).ask(b"question", "me", Deadline(LONG)) == bytes(LARGEST)


def test_serving_ends_with_the_last_asker_read_or_not(line: Make) -> None:
    made = line(2)
    made.answer(bytes.upper)
    made.asking[0].send(bytes(TAG) + b"unread")
    made.close()


def test_it_says_hello_first(line: Make) -> None:
    made = line(1)
    made.answer(bytes.upper)
    assert made.asking[0].recv(100) == HELLO


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "ask", "ask", "replace answerer", "replace asker"]),
        st.integers(0, 3),  # who asks
        st.sampled_from([0.0, 0.001, 0.004]),  # how long the answer takes
        st.sampled_from([0.001, 0.003, LONG]),  # how long the asker waits
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(events=EVENTS)
def test_in_any_order_of_deaths_and_delays_an_answer_is_right_or_none(
    events: list[tuple[str, int, float, float]],
) -> None:
    made = Line(2)
    answerers: list[threading.Event] = []
    wrong: list[tuple[bytes, bytes]] = []

    def new_answerer() -> None:
        dead = threading.Event()

        def live(sock: socket.socket) -> None:
            """`serve`, by one who may be dead when the answer would be ready."""
            sock.send(HELLO, socket.MSG_DONTWAIT)
            while not dead.is_set():
                sock.settimeout(0.01)
                try:
                    question = sock.recv(TAG + LARGEST)
                except TimeoutError:
                    continue
                time.sleep(int(question[TAG : TAG + 1]) / 1000)
                if dead.is_set():
                    return
                sock.send(question[:TAG] + question[TAG:].upper(), socket.MSG_DONTWAIT)

        for old in answerers:
            old.set()
        for thread in made.threads:  # a process is reaped before it is replaced
            thread.join(LONG)
        answerers.append(dead)
        for sock in made.answering:
            made.threads.append(threading.Thread(target=live, args=(sock,)))
            made.threads[-1].start()

    def ask(asker: Channels, question: bytes, who: int, seconds: float) -> None:
        try:
            answer = asker.ask(question, who, Deadline(seconds))
        except TimeoutError:
            if seconds == LONG:
                wrong.append((question, b"no answer"))
        else:
            if answer != question.upper():
                wrong.append((question, answer))

    asker = Channels(made.asking, 2)
    new_answerer()
    asking: list[threading.Thread] = []
    for number, (event, who, takes, seconds) in enumerate(events):
        if event == "replace answerer":
            new_answerer()
        elif event == "replace asker":
            for thread in asking:
                thread.join()
            asker = Channels(made.asking, 2)
        else:
            question = b"%dquestion %d" % (takes * 1000, number)
            asking.append(threading.Thread(target=ask, args=(asker, question, who, seconds)))
            asking[-1].start()
    for thread in asking:
        thread.join(LONG)
    answerers[-1].set()
    for thread in made.threads:
        thread.join(LONG)
    made.close()
    assert not wrong


def test_beyond_its_queue_an_asker_is_turned_away_at_once_and_others_are_not(
    line: Callable[[int], Line],
) -> None:
    made = line(2)
    asker = Channels(made.asking, share=1, queue=2)
    slow = (b"slow", "me", Deadline(LONG))
    threads = [threading.Thread(target=asker.ask, args=slow) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(partial(waiting, asker, 2))
    with pytest.raises(Busy, match="2 of this client wait"):
        asker.ask(b"one more", "me", Deadline(LONG))
    made.answer(lambda question: question[::-1])
    assert asker.ask(b"question", "another", Deadline(LONG)) == b"noitseuq"
    for thread in threads:
        thread.join(LONG)
    assert not vars(asker)["_waiting"]
