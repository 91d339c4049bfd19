from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator

import pytest

from forksocks.host.signals import SignalQueue, held

NUMBERS = (signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture
def queue() -> Iterator[SignalQueue]:
    before = {number: signal.getsignal(number) for number in (*NUMBERS, signal.SIGHUP)}
    made = SignalQueue(NUMBERS, ignored=(signal.SIGHUP,))
    yield made
    made.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def test_signals_wait_in_the_order_they_came(queue: SignalQueue) -> None:
    assert queue.take() == []
    send(signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR1)
    assert select.select([queue], [], [], 60)[0]
    assert queue.take() == [signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR1]
    assert queue.take() == []


def test_ignored_ones_reach_nobody(queue: SignalQueue) -> None:
    send(signal.SIGHUP, signal.SIGUSR1)
    assert queue.take() == [signal.SIGUSR1]


def test_more_than_fit_harm_nobody(queue: SignalQueue) -> None:
    for _ in range(5000):
        send(signal.SIGUSR1)
    while taken := queue.take():
        assert set(taken) == {signal.SIGUSR1}


def test_held_back_they_come_after(queue: SignalQueue) -> None:
    with held():
        # To this thread: the test's process may have others, which hold nothing back.
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        assert queue.take() == []
    assert queue.take() == [signal.SIGUSR1]
