"""Boards as writers and readers see them, garbage in every place, and books that are closed exactly once."""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import threading
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.host.causes import Cause
from forksocks.host.scoreboard import layout, reading, refusals
from forksocks.host.scoreboard.board import Board
from forksocks.host.scoreboard.books import Books, Totals, Unsettled, see, see_refusals
from forksocks.host.scoreboard.slots import Slot, Slots
from forksocks.host.shared import shared_memory
from forksocks.wire.messages import COMMAND_WORDS, Command

NAMES = ("lan", "wan")
THREADS = 4
TIMED = tuple(f"{name}_" for name in layout.TIMES)


@pytest.fixture(params=["sealed", "portable"])
def board(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Board:
    if request.param == "portable":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    made = Board.make(NAMES, THREADS)
    assert (made.writable is made.readable) == (request.param == "portable")
    return made


def counters(board: Board, name: str = "lan") -> dict[str, int]:
    """All but times."""
    counted = dict(zip(layout.COUNTERS, reading.tally(board)[name], strict=True))
    return {name: number for name, number in counted.items() if not name.startswith(TIMED)}


def times(board: Board, name: str) -> dict[str, int]:
    """The time in all of a step (ns), and by bound how many took at most so long."""
    counted = dict(zip(layout.COUNTERS, reading.tally(board)["lan"], strict=True))
    start = f"{name}_"
    return {each.removeprefix(start): n for each, n in counted.items() if n and each.startswith(start)}


def begun(board: Board, listener: int = 0) -> tuple[Slots, Slot]:
    slots = Slots(board)
    slot = slots.take(listener)
    slot.begin(0x7F, "192.0.2.1:5000")
    return slots, slot


def test_a_session_is_seen_from_its_accept_to_its_end(board: Board) -> None:
    _, slot = begun(board, listener=1)
    (seen,) = reading.tunnels(board)
    assert (seen.number, seen.listener, seen.state, seen.client) == (
        0x7F,
        "wan",
        "handshake",
        "192.0.2.1:5000",
    )
    assert (seen.user, seen.command, seen.asked, seen.reached) == ("", "", "", "")
    slot.login(b"alice")
    assert reading.states(board) == {"auth": 1}
    slot.asked(1, "example.com", 443)
    assert reading.states(board) == {"resolve": 1}
    slot.connecting()
    assert reading.states(board) == {"connect": 1}
    slot.reached(ip_address("2001:db8::1"))
    slot.spliced()
    slot.cells[slot.up] += 5
    slot.cells[slot.down] += 7
    (seen,) = reading.tunnels(board)
    assert (seen.state, seen.user, seen.command) == ("tunnel", "alice", "connect")
    assert (seen.asked, seen.reached, seen.up, seen.down, seen.way) == (
        "example.com:443",
        "2001:db8::1",
        5,
        7,
        "splice",
    )
    slot.closing()
    assert reading.states(board) == {"closing": 1}
    slot.end(Cause.IDLE)
    assert not list(reading.tunnels(board))
    assert not reading.states(board)
    got = {name: number for name, number in counters(board, "wan").items() if number}
    assert got == {"accepted": 1, "up": 5, "down": 7, "login_password": 1, "connect": 1, "idle": 1}
    assert not any(reading.tally(board)["lan"])


def test_the_next_session_in_a_slot_inherits_nothing_but_the_counters(board: Board) -> None:
    slots, slot = begun(board)
    slot.login(b"alice")
    slot.asked(1, "example.com", 443)
    slot.reached(ip_address("2001:db8::1"))
    slot.spliced()
    slot.cells[slot.up] += 5
    slot.end(Cause.IDLE)
    slots.give(slot)
    again = slots.take(0)
    assert again is slot
    again.begin(2, "x")
    (seen,) = reading.tunnels(board)
    assert (seen.number, seen.client, seen.user, seen.asked, seen.reached) == (2, "x", "", "", "")
    assert (seen.up, seen.down, seen.way, seen.command) == (0, 0, "copy", "")
    again.asked(1, ip_address("192.0.2.9"), 80)
    assert [seen.asked for seen in reading.tunnels(board)] == ["192.0.2.9:80"]
    assert (counters(board)["up"], counters(board)["login_none"]) == (5, 1)


@pytest.mark.parametrize(
    ("command", "word"),
    [*((int(each), COMMAND_WORDS[each]) for each in Command), (0, "other"), (4, "other"), (255, "other")],
)
def test_every_command_is_counted_by_its_own_word(board: Board, command: int, word: str) -> None:
    _, slot = begun(board)
    slot.asked(command, "example.com", 443)
    got = {name for name, number in counters(board).items() if number}
    assert got == {"accepted", "login_none", word}
    (seen,) = reading.tunnels(board)
    assert seen.command == ("" if not command else "?" if word == "other" else word)


def test_times_are_counted_in_the_bucket_that_they_fit(board: Board) -> None:
    slots, slot = begun(board)
    slot.cells[slot.at + layout.STARTED] -= 3_000_000_000
    slot.asked(1, "example.com", 443)
    for seconds in (0.0, 0.001, 0.002, 30.0, 31.0):
        slot.resolved(seconds)
    slot.dialled(0.02)
    slot.end(Cause.IDLE)
    slots.give(slot)
    again = slots.take(0)
    again.begin(2, "x")
    again.dialled(0.02)
    assert times(board, "resolve") == {"ns": 61_003_000_000, "0.001": 2, "0.005": 1, "30.0": 1, "more": 1}
    assert times(board, "connect") == {"ns": 40_000_000, "0.025": 2}
    handshake = times(board, "handshake")
    assert handshake.pop("ns") >= 3_000_000_000
    assert sum(handshake.values()) == 1
    assert not any(handshake.get(str(bound)) for bound in layout.BOUNDS if bound < 3)


def test_a_login_by_gssapi_is_counted_as_one(board: Board) -> None:
    _, slot = begun(board)
    slot.login(b"alice", layout.LOGINS_GSSAPI)
    slot.asked(1, "example.com", 443)
    slot.end(Cause.IDLE)
    slot.begin(2, "x")
    slot.asked(1, "example.com", 443)
    got = {name: number for name, number in counters(board).items() if name.startswith("login")}
    assert got == {"login_none": 1, "login_password": 0, "login_gssapi": 1}


def test_texts_are_cut_to_their_room(board: Board) -> None:
    _, slot = begun(board)
    slot.login(b"u" * 255)
    slot.asked(1, "n" * 253, 443)
    slot.reached(ip_address("2001:db8::1"))
    (seen,) = reading.tunnels(board)
    assert seen.user == "u" * layout.USER_ROOM
    assert seen.asked == "n" * layout.HOST_ROOM + ":443"
    assert seen.reached == "2001:db8::1"


def test_what_a_client_calls_itself_cannot_reach_a_terminal(board: Board) -> None:
    _, slot = begun(board)
    slot.login(b"\x1b]0;x\x07\xff\xe2\x80\xae")
    (seen,) = reading.tunnels(board)
    assert seen.user.isprintable()
    assert seen.user.isascii()


def test_slots_for_every_thread_of_every_listener(board: Board) -> None:
    slots = Slots(board)
    taken = [slots.take(listener) for listener in (0, 1) for _ in range(THREADS)]
    for number, slot in enumerate(taken):
        slot.begin(number, "x")
    assert len(list(reading.tunnels(board))) == 2 * THREADS
    for slot in taken:
        slots.give(slot)
    assert {slots.take(1) for _ in range(THREADS)} == set(taken[THREADS:])


def test_the_head_and_activity(board: Board) -> None:
    slots, slot = begun(board)
    slots.beat(threads=3, busy=2, waiting=1, draining=True)
    slots.full(times=4, nanoseconds=5)
    head = reading.head(board)
    assert (head.threads, head.busy, head.waiting, head.draining) == (3, 2, 1, True)
    assert (head.full_times, head.full_ns) == (4, 5)
    assert board.heartbeat() == head.heartbeat > 0
    before = slots.note_activity([])
    (first,) = reading.tunnels(board)
    slots.note_activity(before)
    assert [seen.active for seen in reading.tunnels(board)] == [first.active]
    slot.cells[slot.down] += 1
    slots.note_activity(before)
    assert [seen.active > first.active for seen in reading.tunnels(board)] == [True]


def test_an_idle_tunnel_touches_less_than_a_kilobyte() -> None:
    assert layout.SLOT_CELLS * layout.CELL < 1024


def test_memory_that_is_read_cannot_be_written() -> None:
    writable, readable = shared_memory(mmap.PAGESIZE)
    writable[:3] = b"abc"
    assert readable[:3] == b"abc"
    with pytest.raises(TypeError):
        readable[:3] = b"xyz"


SIZE = layout.size(2 * THREADS) + refusals.SIZE
SCRAPS = st.lists(st.tuples(st.integers(0, SIZE - 65), st.binary(max_size=64)), max_size=20)


@given(st.sampled_from(["random", "ones", "torn"]), st.integers(), SCRAPS, st.integers(0, 2**64 - 1))
def test_garbage_never_breaks_a_reader(
    kind: str, seed: int, scraps: list[tuple[int, bytes]], used: int
) -> None:
    board = Board.make(NAMES, THREADS)
    if kind == "torn":  # one session that is well, and scraps over it
        _, slot = begun(board)
        slot.asked(1, "example.com", 443)
    else:
        board.writable[:] = random.Random(seed).randbytes(SIZE) if kind == "random" else b"\xff" * SIZE
    for at, scrap in scraps:
        board.writable[at : at + len(scrap)] = scrap
    struct.pack_into("=Q", board.writable, layout.USED * layout.CELL, used)
    assert board.used() <= 2 * THREADS
    for seen in reading.tunnels(board):
        assert seen.listener in (*NAMES, "?")
        assert all(text.isprintable() for text in (seen.client, seen.user, seen.asked, seen.reached))
        assert seen.up >= 0
    reading.states(board)
    reading.head(board)
    assert board.refusals is not None
    found = refusals.entries(board.readable, board.refusals)
    assert all(len(text) <= refusals.LONGEST for _, text in found)
    assert set(reading.tally(board)) == set(NAMES)
    books = Books()
    books.close(board, Cause.WORKER_CRASH, {})
    assert board.used() == 0
    assert not list(reading.tunnels(board))
    see(books.page, {1: board})
    assert see_refusals(books.page, {1: board}, books.refused) == found


def test_a_board_is_booked_once_with_its_open_sessions(board: Board) -> None:
    slots, slot = begun(board)
    slot.end(Cause.IDLE)
    slots.give(slot)
    slot = slots.take(0)
    slot.begin(2, "x")
    slot.cells[slot.up] += 10
    slots.full(2, 9)
    books = Books()
    books.publish({"pid": 1})
    before = see(books.page, {7: board})
    assert before.facts == {"pid": 1}
    assert books.close(board, Cause.WORKER_CRASH, {"pid": 2}) == 1
    after = see(books.page, {7: board})
    assert after.facts == {"pid": 2}
    assert after.totals.heads == before.totals.heads == [2, 9]
    got = dict(zip(layout.COUNTERS, after.totals.listeners["lan"], strict=True))
    assert (got["accepted"], got["idle"], got["worker-crash"], got["up"]) == (2, 1, 1, 10)
    assert before.totals.listeners["lan"][: layout.ENDS] == after.totals.listeners["lan"][: layout.ENDS]
    assert books.close(board, Cause.WORKER_CRASH, {}) == 0
    assert see(books.page, {7: board}).totals == after.totals


def test_totals_survive_being_written_down() -> None:
    totals = Totals({"lan": list(range(len(layout.COUNTERS)))}, [3, 4], {"killed by SIGSEGV": 2})
    assert Totals.from_named(totals.named()) == totals
    older = totals.named()
    older["listeners"]["lan"].pop("idle")
    older["listeners"]["lan"]["of-another-version"] = 5
    got = dict(zip(layout.COUNTERS, Totals.from_named(older).listeners["lan"], strict=True))
    assert (got["idle"], got["up"]) == (0, 1)


def test_a_reader_never_sees_a_session_twice_or_not_at_all_while_books_are_closed() -> None:
    board = Board.make(NAMES, THREADS)
    books = Books()
    books.publish({})
    done = threading.Event()
    wrong: list[int] = []
    accepted = layout.ACCEPTED

    def look() -> None:
        last = 0
        while not done.is_set():
            try:
                now = see(books.page, {1: board}).totals.listeners.get("lan", [0])[accepted]
            except Unsettled:
                continue
            if not last <= now <= last + 400:
                wrong.append(now)
            last = now

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(200):
        _, slot = begun(board)
        slot.end(Cause.IDLE)
        books.close(board, Cause.WORKER_CRASH, {})
    done.set()
    reader.join()
    assert not wrong
    assert see(books.page, {1: board}).totals.listeners["lan"][accepted] == 200


def test_a_page_that_is_never_settled_says_so() -> None:
    books = Books()
    struct.pack_into("=QQ", books.page.writable, 0, 1, 0)
    with pytest.raises(Unsettled):
        see(books.page, {})


def test_facts_beyond_their_room_are_left_out_and_the_totals_kept() -> None:
    books = Books()
    books.publish({"x": "y" * 300_000})
    assert see(books.page, {}).facts == {}


def test_every_count_of_a_process_that_is_killed_anywhere_is_booked() -> None:
    """kill -9 at any instruction: sessions are the sum of their ends, and the bytes are those that were
    stored."""
    books = Books()
    board = Board.make(("lan",), 2)
    for _ in range(20):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                slots = Slots(board)
                while True:
                    slot = slots.take(0)
                    slot.begin(1, "x")
                    slot.asked(1, "example.com", 1)
                    slot.reached(ip_address("192.0.2.1"))
                    slot.cells[slot.up] += 1
                    slot.end(Cause.IDLE)
                    slots.give(slot)
                    os.write(writer, b"x")
            finally:
                os._exit(1)
        os.read(reader, random.randrange(1, 400))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.set_blocking(reader, False)
        os.close(writer)
        os.close(reader)
        books.close(board, Cause.WORKER_CRASH, {})
    total = books.totals.listeners["lan"]
    assert total[layout.ACCEPTED] > 20
    assert sum(total[layout.ENDS :]) == total[layout.ACCEPTED]
    assert 0 <= total[layout.ACCEPTED] - total[layout.UP] <= 20
