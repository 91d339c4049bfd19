"""The relay against real sockets: any mix of writes, ends and stalls delivers exactly the bytes."""

from __future__ import annotations

import os
import random
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forksocks.config.model import RelayKind, Timeouts
from forksocks.host.causes import Cause
from forksocks.traffic.pipes import Pipes
from tests.machine import wait_until
from tests.traffic.tunnels import (
    KINDS,
    LINGER_ZERO,
    calls_while_talking,
    flood,
    how_it_ends,
    read_all,
    receive_exactly,
    send_all,
    stuff,
    tunnel,
)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_arrive_and_are_counted(kind: RelayKind) -> None:
    up, down = os.urandom(3_000_000), os.urandom(5_000_000)
    with tunnel(kind, early=b"early ") as t:
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(read_all(t.target)))
        reader.start()
        sender = threading.Thread(target=send_all, args=(t.client, up))
        sender.start()
        sender2 = threading.Thread(target=send_all, args=(t.target, down))
        sender2.start()
        assert read_all(t.client) == down
        for thread in (reader, sender, sender2):
            thread.join(20)
        assert got[0] == b"early " + up
        assert t.cause() in (Cause.CLIENT_CLOSED, Cause.TARGET_CLOSED)
        assert (t.relay.up.moved, t.relay.down.moved) == (len(up) + 6, len(down))


@pytest.mark.parametrize("kind", KINDS)
def test_a_half_close_ends_one_direction_only(kind: RelayKind) -> None:
    with tunnel(kind) as t:
        t.client.sendall(b"question")
        t.client.shutdown(socket.SHUT_WR)
        assert read_all(t.target) == b"question"
        t.target.sendall(b"answer after the end of the question")
        t.target.close()
        assert read_all(t.client) == b"answer after the end of the question"
        assert t.cause() is Cause.CLIENT_CLOSED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", ["client", "target"])
def test_a_reset_is_passed_on_as_a_reset(kind: RelayKind, who: str) -> None:
    with tunnel(kind) as t:
        resetting, other = (t.client, t.target) if who == "client" else (t.target, t.client)
        resetting.sendall(b"x")
        assert other.recv(10) == b"x"
        resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        resetting.close()
        with pytest.raises(ConnectionResetError):
            other.recv(10)
        assert t.cause() is (Cause.CLIENT_RESET if who == "client" else Cause.TARGET_RESET)


@pytest.mark.parametrize("kind", KINDS)
def test_silence_ends_the_tunnel_and_resets_what_is_stuck(kind: RelayKind) -> None:
    with tunnel(kind, limits=Timeouts(idle=0.2)) as t:
        assert t.cause() is Cause.IDLE
        with pytest.raises(ConnectionResetError):
            t.client.recv(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_half_closed_tunnel_has_its_own_limit(kind: RelayKind) -> None:
    with tunnel(kind, limits=Timeouts(idle=60.0, half_closed=0.2)) as t:
        t.client.shutdown(socket.SHUT_WR)
        assert t.cause() is Cause.HALF_CLOSED


@pytest.mark.parametrize("kind", KINDS)
def test_a_stalled_reader_does_not_stop_the_other_direction(kind: RelayKind) -> None:
    with tunnel(kind) as t:
        stuffed = stuff(t.target)
        t.client.sendall(b"still here")
        assert t.target.recv(100) == b"still here"
        t.target.shutdown(socket.SHUT_WR)
        t.client.shutdown(socket.SHUT_WR)
        assert len(read_all(t.client)) == stuffed
        assert t.cause() in (Cause.CLIENT_CLOSED, Cause.TARGET_CLOSED)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bulk", [False, True])
@pytest.mark.parametrize("who", ["client", "target"])
def test_urgent_data_stays_in_line_and_does_not_spin(kind: RelayKind, bulk: bool, who: str) -> None:
    with tunnel(kind) as t:
        urging, other = (t.client, t.target) if who == "client" else (t.target, t.client)
        if bulk:
            expected = os.urandom(1_000_000)
            urging.sendall(expected)
            assert receive_exactly(other, len(expected)) == expected
        urging.send(b"!", socket.MSG_OOB)
        assert receive_exactly(other, 1) == b"!"
        assert calls_while_talking(t) < 200
        urging.sendall(b"before")
        urging.send(b"?", socket.MSG_OOB)
        urging.sendall(b"after")
        assert receive_exactly(other, 12) == b"before?after"
        assert calls_while_talking(t) < 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_flood_of_single_bytes_into_a_stalled_bulk_flow_loses_nothing(kind: RelayKind) -> None:
    with tunnel(kind) as t:
        bulk = os.urandom(300_000)
        t.client.sendall(bulk)
        t.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tail = bytes(random.Random(1).randbytes(4000))
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(read_all(t.target)))
        for byte in tail[:2000]:
            t.client.send(bytes((byte,)))
        reader.start()
        for byte in tail[2000:]:
            t.client.send(bytes((byte,)))
        t.client.shutdown(socket.SHUT_WR)
        reader.join(20)
        assert got[0] == bulk + tail


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", ["client", "target"])
def test_a_half_closed_tunnel_does_not_spin(kind: RelayKind, who: str) -> None:
    with tunnel(kind) as t:
        ended, other = (t.client, t.target) if who == "client" else (t.target, t.client)
        ended.shutdown(socket.SHUT_WR)
        assert other.recv(1) == b""
        before = t.poll.calls
        for _ in range(40):
            other.sendall(b"x")
            assert receive_exactly(ended, 1) == b"x"
        assert t.poll.calls - before < 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_after_a_half_close_is_passed_on_at_once(kind: RelayKind) -> None:
    with tunnel(kind) as t:
        t.client.shutdown(socket.SHUT_WR)
        assert t.target.recv(1) == b""
        t.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        t.client.close()
        assert t.cause() is Cause.CLIENT_CLOSED
        with pytest.raises(OSError, match=r"pipe|reset"):
            t.target.sendall(b"to nobody")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", ["client", "target"])
def test_a_reset_is_noticed_while_bytes_wait_for_the_other_side(kind: RelayKind, who: str) -> None:
    """Nothing is wanted of the socket that was reset, and its thread would be held for the idle limit."""
    with tunnel(kind) as t:
        resetting = t.client if who == "client" else t.target
        stuff(resetting)
        resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        resetting.close()
        assert t.cause() is (Cause.CLIENT_RESET if who == "client" else Cause.TARGET_RESET)


@pytest.mark.parametrize("kind", KINDS)
def test_both_ends_have_said_all_and_one_does_not_read_yet(kind: RelayKind) -> None:
    """The client's socket is shut down both ways, which poll(2) says to whoever asks, for ever."""
    with tunnel(kind) as t:
        sent = stuff(t.client)
        t.client.shutdown(socket.SHUT_WR)
        t.target.shutdown(socket.SHUT_WR)
        assert t.client.recv(1) == b""
        before = t.poll.calls
        time.sleep(0.1)  # nothing is to happen
        assert t.poll.calls - before < 10
        assert len(read_all(t.target)) == sent
        assert t.cause() in (Cause.TARGET_CLOSED, Cause.CLIENT_CLOSED)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["idle", "half-closed", "flowing", "stalled", "stalled both ways"])
def test_aborted_it_ends_and_both_sides_see_a_reset_and_no_end(kind: RelayKind, state: str) -> None:
    with tunnel(kind) as t:
        errors: list[OSError] = []
        sender = threading.Thread(target=flood, args=(t.target, errors))
        if state == "half-closed":
            t.client.shutdown(socket.SHUT_WR)
            assert t.target.recv(1) == b""
        if state == "flowing":
            sender.start()
            receive_exactly(t.client, 1_000_000)
        if state.startswith("stalled"):
            stuff(t.target)
        if state == "stalled both ways":
            stuff(t.client)
        t.relay.abort()
        while state == "stalled both ways" and t.thread.is_alive():
            t.thread.join(0.05)
            t.relay.abort()
        t.cause()
        assert how_it_ends(t.client) == "reset"
        if state == "flowing":  # an error is told once: to who sends or to who receives
            sender.join(20)
            assert isinstance(errors[0], ConnectionResetError)
        elif state != "half-closed":  # which has had its end
            assert how_it_ends(t.target) == "reset"


def test_no_pipe_is_lent_while_nothing_is_in_it() -> None:
    pipes = Pipes(2)
    with tunnel(RelayKind.SPLICE, pipes=pipes) as t:
        t.client.sendall(bytes(2_000_000))
        receive_exactly(t.target, 2_000_000)
        wait_until(lambda: t.relay.up.pipe is None)
        assert t.relay.up.bulk
        assert len(pipes._free) == 1  # noqa: SLF001 - what the pool holds is the point
    pipes.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["client", "target"]),
        st.sampled_from(["write", "write", "write", "urgent", "end", "stall"]),
        st.sampled_from([1, 2, 100, 4095, 16384, 16385, 70_000, 400_000]),
    ),
    max_size=14,
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(steps=STEPS, narrow=st.booleans())
def test_any_interleaving_delivers_exactly_the_bytes(
    kind: RelayKind, steps: list[tuple[str, str, int]], narrow: bool
) -> None:
    with tunnel(kind) as t:
        if narrow:  # windows that are zero again and again
            for end in (t.client, t.target):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        ends = {"client": t.client, "target": t.target}
        sent = {"client": bytearray(), "target": bytearray()}
        got: dict[str, bytes] = {}
        stall = threading.Event()

        def read(name: str) -> None:
            stall.wait(0.02)  # both sides write before anyone reads
            got[name] = read_all(ends[name])

        def write(name: str) -> None:
            noise = random.Random(len(steps))
            for who, what, size in steps:
                if who != name:
                    continue
                if what == "end":
                    break
                if what == "stall":
                    time.sleep(0.001)
                    continue
                if what == "urgent":
                    sent[name] += b"!"
                    ends[name].send(b"!", socket.MSG_OOB)
                    continue
                data = noise.randbytes(size)
                sent[name] += data
                ends[name].sendall(data)
            ends[name].shutdown(socket.SHUT_WR)

        threads = [threading.Thread(target=f, args=(n,)) for f in (read, write) for n in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        t.cause()
        assert got["target"] == bytes(sent["client"])
        assert got["client"] == bytes(sent["target"])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([1, 100, 16_384, 70_000, 400_000]), max_size=5),
    who=st.sampled_from(["client", "target"]),
    reading=st.booleans(),
)
def test_a_reset_at_any_moment_reaches_the_other_side_and_alters_nothing(
    kind: RelayKind, sizes: list[int], who: str, reading: bool
) -> None:
    with tunnel(kind) as t:
        resetting, other = (t.client, t.target) if who == "client" else (t.target, t.client)
        sent = random.Random(len(sizes)).randbytes(sum(sizes))
        got = bytearray()
        ends: list[str] = []

        def write() -> None:
            with memoryview(sent) as rest:
                for size in sizes:
                    resetting.sendall(rest[:size])
                    rest = rest[size:]
            resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
            resetting.close()

        def read() -> None:
            ended = False
            while not ended:
                try:
                    more = other.recv(1 << 16)
                except ConnectionResetError:
                    return
                got.extend(more)
                ended = not more
            ends.append("an end in place of a reset")

        writer = threading.Thread(target=write)
        writer.start()
        if not reading:
            writer.join(20)
        read()
        writer.join(20)
        assert not ends
        assert sent.startswith(got)
        assert t.cause() is (Cause.CLIENT_RESET if who == "client" else Cause.TARGET_RESET)


@pytest.mark.parametrize("kind", KINDS)
def test_early_bytes_arrive_even_if_they_are_many_and_the_client_has_ended(kind: RelayKind) -> None:
    early = os.urandom(8_000_000)  # more than the target's queue takes
    with tunnel(kind, early=early) as t:
        t.client.shutdown(socket.SHUT_WR)
        assert read_all(t.target) == early
        assert t.relay.up.moved == len(early)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tunnel_that_lasts_is_kept_alive_and_goes_on(
    kind: RelayKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forksocks.traffic.relay.LASTING", 0.05)
    with tunnel(kind, limits=Timeouts(idle=60.0)) as t:
        near = t.near[1]
        wait_until(lambda: near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1)
        assert calls_while_talking(t) < 200


def test_a_flow_whose_chunks_become_small_is_copied_again_and_bulk_spliced_again() -> None:
    with tunnel(RelayKind.SPLICE) as t:
        bulk = os.urandom(1_000_000)
        spliced = []
        for _ in range(2):
            t.client.sendall(bulk)
            assert receive_exactly(t.target, len(bulk)) == bulk
            spliced.append(t.relay.up.bulk)
            for _ in range(40):
                t.client.sendall(b"small")
                assert receive_exactly(t.target, 5) == b"small"
            spliced.append(t.relay.up.bulk)
        assert spliced == [True, False, True, False]
        assert t.relay.up.splicing
