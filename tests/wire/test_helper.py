from __future__ import annotations

import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.wire import helper
from forksocks.wire.helper import Answer, Result
from forksocks.wire.messages import ProtocolError

TEXT = st.binary(min_size=1, max_size=255)


def test_a_question_is_a_line() -> None:
    assert helper.question(b"alice", b"secret", None) == b"alice secret\n"
    assert helper.question(b"alice", b"secret", 12) == b"12 alice secret\n"


@pytest.mark.parametrize("text", [b"bob\nOK", b"a b", b"%41", b"\xff\r\n", b"0 bob", b"-oX", b'"x"', b"~"])
def test_what_could_be_mistaken_is_escaped(text: bytes) -> None:
    line = helper.question(text, text, None)
    assert line.count(b" ") == line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert line.isascii()
    name, password = line.split()
    assert urllib.parse.unquote_to_bytes(name) == urllib.parse.unquote_to_bytes(password) == text


@given(TEXT, TEXT, st.none() | st.integers(0, 31))
def test_any_question_comes_apart_as_it_was_put_together(
    name: bytes, password: bytes, channel: int | None
) -> None:
    line = helper.question(name, password, channel)
    *number, one, two = line.removesuffix(b"\n").split(b" ")
    assert number == ([] if channel is None else [b"%d" % channel])
    assert (urllib.parse.unquote_to_bytes(one), urllib.parse.unquote_to_bytes(two)) == (name, password)
    assert len(line) <= 4096  # PIPE_BUF: written whole or not at all


def test_a_nul_cannot_be_asked() -> None:
    assert helper.can_be_asked(b"a\xff\n", b"b")
    assert not helper.can_be_asked(b"root\0", b"b")
    assert not helper.can_be_asked(b"a", b"b\0c")


@pytest.mark.parametrize(
    ("line", "result", "message"),
    [
        (b"OK", Result.OK, b""),
        (b"OK ", Result.OK, b""),
        (b"OK\r", Result.OK, b""),
        (b'OK user="bob" ttl=5', Result.OK, b""),
        (b"ERR", Result.ERR, b""),
        (b"ERR No such user", Result.ERR, b"No such user"),
        (b'ERR message="say \\"no\\" now" tag=x', Result.ERR, b'say "no" now'),
        (b"BH message=Out%20of%0Aorder", Result.BH, b"Out of\norder"),
        (b"BH group=a message=b", Result.BH, b"b"),
    ],
)
def test_answers(line: bytes, result: Result, message: bytes) -> None:
    assert helper.read_answer(line, with_channel=False) == Answer(0, result, message)
    assert helper.read_answer(b"31 " + line, with_channel=True) == Answer(31, result, message)


@pytest.mark.parametrize(
    "line",
    [b"", b"ok", b"OKAY", b" OK", b"TT x", b"OKERR", b"1OK", b"-1 OK", b"1  OK", b"\xff", b"OK" * 5000],
)
def test_what_is_no_answer(line: bytes) -> None:
    for with_channel in (False, True):
        with pytest.raises(ProtocolError):
            helper.read_answer(line, with_channel)


def test_a_channel_is_neither_forgotten_nor_made_up() -> None:
    with pytest.raises(ProtocolError):
        helper.read_answer(b"OK", with_channel=True)
    with pytest.raises(ProtocolError):
        helper.read_answer(b"0 OK", with_channel=False)


def test_an_answer_that_is_too_long() -> None:
    longest = b"OK " + b"x" * (helper.LONGEST_ANSWER - 3)
    assert helper.read_answer(longest, with_channel=False).result is Result.OK
    with pytest.raises(ProtocolError, match="without end"):
        helper.read_answer(longest + b"x", with_channel=False)


@given(
    st.binary(max_size=200) | st.from_regex(rb"[0-9]{0,3} ?(OK|ERR|BH) ?.*", fullmatch=True), st.booleans()
)
def test_any_line_is_an_answer_or_an_error(line: bytes, with_channel: bool) -> None:
    try:
        answer = helper.read_answer(line, with_channel)
    except ProtocolError:
        return
    assert answer.result in Result
    assert with_channel or answer.channel == 0
