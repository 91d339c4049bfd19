"""What a relay does when the machine is short of pipes or splice(2) fails: it copies, and nothing is lost."""

from __future__ import annotations

import errno
import os
import random
import socket
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forksocks.config.model import RelayKind
from forksocks.traffic.flow import SHORTAGES
from forksocks.traffic.pipes import MOST_FREE, SHORTEST, Pipes
from tests.machine import NoDescriptors, open_descriptors
from tests.traffic.tunnels import Tunnel, read_all, receive_exactly, send_all, stuff, tunnel


def exchange(t: Tunnel, up: bytes, down: bytes) -> tuple[bytes, bytes]:
    """Send both ways at once to the end; what arrived."""
    got: list[bytes] = []
    threads = [
        threading.Thread(target=send_all, args=(t.client, up)),
        threading.Thread(target=send_all, args=(t.target, down)),
        threading.Thread(target=lambda: got.append(read_all(t.target))),
    ]
    for thread in threads:
        thread.start()
    arrived = read_all(t.client)
    for thread in threads:
        thread.join(60)
    return got[0], arrived


def test_without_descriptors_bulk_is_copied_and_nothing_leaks() -> None:
    up, down = os.urandom(3_000_000), os.urandom(2_000_000)
    with tunnel(RelayKind.SPLICE) as t:
        before = open_descriptors()
        with NoDescriptors():
            arrived = exchange(t, up, down)
        assert arrived == (up, down)
        t.cause()
        assert open_descriptors() == before - 2  # the near ends, closed
        assert not t.relay.up.splicing
        assert not t.relay.down.splicing


def test_a_flow_that_found_no_pipe_leaves_splicing_to_those_that_do() -> None:
    bulk = os.urandom(1_000_000)
    with tunnel(RelayKind.SPLICE) as t:
        with NoDescriptors():
            t.client.sendall(bulk)
            assert receive_exactly(t.target, len(bulk)) == bulk
        t.target.sendall(bulk)
        assert receive_exactly(t.client, len(bulk)) == bulk
        assert not t.relay.up.splicing
        assert t.relay.down.splicing


class FailingSplice:
    """splice(2) that fails with one errno from the n-th call on, or at that one alone."""

    def __init__(self, nth: int, code: int, for_good: bool) -> None:
        self._splice = os.splice
        self._left = nth
        self._code = code
        self._for_good = for_good
        self.failed = 0

    def __call__(self, source: int, sink: int, count: int, flags: int = 0) -> int:
        self._left -= 1
        if self._left < 0 and (self._for_good or not self.failed):
            self.failed += 1
            raise OSError(self._code, os.strerror(self._code))
        return self._splice(source, sink, count, flags=flags)


@settings(max_examples=40, deadline=None)
@given(
    nth=st.integers(0, 12), code=st.sampled_from(sorted(SHORTAGES)), for_good=st.booleans(),
    size=st.sampled_from([100_000, 1_000_000, 2_500_000]),
)  # fmt: skip
def test_splice_that_fails_at_any_call_loses_nothing(nth: int, code: int, for_good: bool, size: int) -> None:
    noise = random.Random(nth)
    up, down = noise.randbytes(size), noise.randbytes(size)
    with pytest.MonkeyPatch.context() as patch:
        failing = FailingSplice(nth, code, for_good)
        patch.setattr(os, "splice", failing)
        with tunnel(RelayKind.SPLICE) as t:
            assert exchange(t, up, down) == (up, down)
            t.cause()
            assert t.relay.moved() == (size, size)
            assert not failing.failed or not (t.relay.up.splicing and t.relay.down.splicing)


def test_an_error_of_splice_that_is_no_shortage_ends_the_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "splice", FailingSplice(1, errno.EIO, for_good=True))
    with tunnel(RelayKind.SPLICE) as t:
        t.client.sendall(bytes(1_000_000))
        t.cause()


def test_bytes_that_splice_left_to_recv_and_the_sink_refused_are_sent_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At an urgent mark splice says EAGAIN for good and recv takes over; here the sink is full just then."""
    with tunnel(RelayKind.SPLICE) as t:
        bulk = os.urandom(1_000_000)
        t.client.sendall(bulk)
        assert receive_exactly(t.target, len(bulk)) == bulk
        monkeypatch.setattr(os, "splice", FailingSplice(0, errno.EAGAIN, for_good=True))
        sent = stuff(t.client)
        t.client.shutdown(socket.SHUT_WR)
        before = t.poll.calls
        assert len(read_all(t.target)) == sent
        assert t.poll.calls - before < 20_000
    monkeypatch.undo()


class TestPipes:
    def test_a_pipe_is_lent_again(self) -> None:
        pipes = Pipes(100)
        first = pipes.take()
        assert first
        pipes.give(first)
        assert pipes.take() is first
        first.close()

    def test_one_with_bytes_in_it_is_closed_and_never_lent(self) -> None:
        before = open_descriptors()
        pipes = Pipes(100)
        pipe = pipes.take()
        assert pipe
        pipe.held = os.write(pipe.writer, b"another's")
        pipes.give(pipe)
        assert open_descriptors() == before

    def test_only_some_are_kept(self) -> None:
        before = open_descriptors()
        pipes = Pipes(100)
        lent = [pipes.take() for _ in range(MOST_FREE + 5)]
        for pipe in lent:
            assert pipe
            pipes.give(pipe)
        assert open_descriptors() == before + 2 * MOST_FREE
        pipes.close()
        assert open_descriptors() == before

    def test_no_more_than_may_be(self) -> None:
        before = open_descriptors()
        pipes = Pipes(2)
        first, second = pipes.take(), pipes.take()
        assert first
        assert second
        assert pipes.take() is None
        second.held = os.write(second.writer, b"lost")
        pipes.give(second)
        third = pipes.take()
        assert third, "the one that was closed has left its place"
        assert pipes.take() is None
        pipes.give(first)
        pipes.give(third)
        pipes.close()
        assert open_descriptors() == before
        lent = [pipes.take() for _ in range(3)]
        assert [bool(pipe) for pipe in lent] == [True, True, False]
        for pipe in lent:
            if pipe:
                pipe.close()

    def test_none_that_failed_counts(self) -> None:
        pipes = Pipes(1)
        with NoDescriptors():
            assert pipes.take() is None
        pipe = pipes.take()
        assert pipe
        pipe.close()

    def test_none_without_descriptors(self) -> None:
        with NoDescriptors() as none:
            got = Pipes(1).take()
            none.give_back()
        assert got is None

    def test_an_ordinary_user_gets_long_ones_or_none(self) -> None:
        """Its share of pipe pages ends (pipe(7)): F_SETPIPE_SZ fails, and new pipes are two pages short."""
        script = """
import fcntl, os
from forksocks.traffic.pipes import SHORTEST, Pipes
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(64999)
    os.setuid(64999)
pipes, lent = Pipes(10_000), []
while (pipe := pipes.take()) and len(lent) < 5000:
    lent.append(pipe)
sizes = {fcntl.fcntl(pipe.writer, fcntl.F_GETPIPE_SZ) for pipe in lent}
before = len(os.listdir("/proc/self/fd"))
assert pipes.take() is None
assert len(os.listdir("/proc/self/fd")) == before
print(len(lent), min(sizes))
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert not done.stderr
        lent, shortest = map(int, done.stdout.split())
        assert 1 <= lent < 5000
        assert shortest >= SHORTEST
