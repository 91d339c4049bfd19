from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.wire.reader import CHUNK, EndOfStream, Reader
from tests.wire.cutting import Pieces


@given(
    pieces=st.lists(st.binary(max_size=30), max_size=10),
    counts=st.lists(st.integers(0, 40), max_size=20),
    rests=st.sets(st.integers(0, 20)),
)
def test_any_reads_of_any_pieces_give_the_bytes_in_order(
    pieces: list[bytes], counts: list[int], rests: set[int]
) -> None:
    whole = b"".join(pieces)
    reader = Reader(Pieces(*pieces))
    got = b""
    for turn, count in enumerate(counts):
        if count > len(whole) - len(got):
            with pytest.raises(EndOfStream):
                reader.exactly(count)
            return
        part = reader.exactly(count)
        assert len(part) == count
        got += part
        if turn in rests:
            got += reader.rest()
            assert reader.rest() == b""
        assert whole.startswith(got)


def test_one_receive_is_enough_for_what_has_come_together() -> None:
    source = Pieces(b"onetwo")
    reader = Reader(source)
    assert (reader.exactly(3), reader.exactly(3)) == (b"one", b"two")
    assert source.asked == 1


def test_nothing_is_received_for_nothing() -> None:
    source = Pieces(b"x")
    assert Reader(source).exactly(0) == b""
    assert source.asked == 0


def test_what_came_early_is_kept_for_the_relay_and_given_once() -> None:
    reader = Reader(Pieces(b"head and payload"))
    assert reader.exactly(4) == b"head"
    assert reader.rest() == b" and payload"
    assert reader.rest() == b""


def test_a_stranger_makes_it_keep_no_more_than_a_chunk() -> None:
    reader = Reader(Pieces(bytes(100 * CHUNK)))
    reader.exactly(2)
    assert len(reader.rest()) == CHUNK - 2


def test_an_end_in_the_middle_is_an_error_and_stays_one() -> None:
    reader = Reader(Pieces(b"abc"))
    for _ in range(2):
        with pytest.raises(EndOfStream):
            reader.exactly(4)


def test_errors_of_the_source_pass_through_and_lose_nothing() -> None:
    answers: list[bytes | Exception] = [b"ab", TimeoutError(), b"cd"]

    def receive(_size: int) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    reader = Reader(receive)
    assert reader.exactly(1) == b"a"
    with pytest.raises(TimeoutError):
        reader.exactly(3)
    assert reader.exactly(3) == b"bcd"


def test_the_first_byte_is_seen_and_stays() -> None:
    source = Pieces(b"ab", b"c")
    reader = Reader(source)
    assert reader.first() == reader.first() == ord("a")
    assert source.asked == 1
    assert reader.exactly(3) == b"abc"
    with pytest.raises(EndOfStream):
        reader.first()


@pytest.mark.parametrize("size", [1, 2, 100])
def test_bytes_before_an_end(size: int) -> None:
    data = b"text\0more"
    reader = Reader(Pieces(*(data[at : at + size] for at in range(0, len(data), size))))
    assert reader.until(0, 4) == b"text"
    assert reader.exactly(4) == b"more"
    with pytest.raises(EndOfStream):
        reader.until(0, 4)


def test_no_end_within_the_most_that_may_come_before_it() -> None:
    assert Reader(Pieces(b"text\0")).until(0, 3) is None
    assert Reader(Pieces(b"te", b"xt")).until(0, 3) is None
    assert Reader(Pieces(b"\0")).until(0, 0) == b""
