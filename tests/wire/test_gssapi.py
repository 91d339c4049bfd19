from __future__ import annotations

import pytest

from forksocks.wire import gssapi
from forksocks.wire.gssapi import Kind, Level
from forksocks.wire.messages import ProtocolError
from forksocks.wire.reader import Reader
from tests.wire.cutting import Pieces, parses

ALL = frozenset(Level)
STRONG = frozenset({Level.INTEGRITY, Level.CONFIDENTIALITY})


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("token", [b"", b"x", b"token" * 60])
def test_messages(kind: Kind, token: bytes) -> None:
    message = gssapi.message(kind, token)
    assert message == bytes((1, kind)) + len(token).to_bytes(2, "big") + token
    parses(lambda reader: gssapi.read_token(reader, kind), message, token)


def test_the_longest_token() -> None:
    message = gssapi.message(Kind.DATA, bytes(gssapi.LONGEST_TOKEN))
    assert len(gssapi.read_token(Reader(Pieces(message)), Kind.DATA)) == 65535


@pytest.mark.parametrize("head", [b"\x01\x02\0\0", b"\x01\xff\0\0", b"\x05\x01\0\0", b"\0\0\0\0", b"GET "])
def test_any_other_message_is_an_error_that_is_answered(head: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        gssapi.read_token(Reader(Pieces(head)), Kind.AUTHENTICATION)
    assert caught.value.answer == b"\x01\xff"


def test_a_message_that_has_to_be_all_there_is() -> None:
    message = gssapi.message(Kind.DATA, b"token")
    assert gssapi.whole_token(message, Kind.DATA) == b"token"
    assert gssapi.whole_token(message[:2] + bytes(2), Kind.DATA) == b""
    cut = [message[:size] for size in range(len(message))]
    for wrong in (*cut, message + b"x", gssapi.message(Kind.AUTHENTICATION, b"token")):
        with pytest.raises(ProtocolError):
            gssapi.whole_token(wrong, Kind.DATA)


@pytest.mark.parametrize(
    ("asked", "allowed", "granted"),
    [
        (0, {Level.NONE}, Level.NONE),
        (0, STRONG, None),
        (1, STRONG, Level.INTEGRITY),
        (1, {Level.CONFIDENTIALITY}, Level.CONFIDENTIALITY),
        (1, {Level.NONE}, Level.NONE),
        (2, STRONG, Level.CONFIDENTIALITY),
        (2, {Level.INTEGRITY}, None),
        (2, {Level.NONE, Level.INTEGRITY}, Level.NONE),
        (3, STRONG, Level.SELECTIVE),
        (3, {Level.INTEGRITY, Level.NONE}, Level.INTEGRITY),
        (3, {Level.CONFIDENTIALITY}, Level.CONFIDENTIALITY),
        (4, ALL, None),
        (255, ALL, None),
    ],
)
def test_levels(asked: int, allowed: set[Level], granted: Level | None) -> None:
    assert gssapi.agreed(asked, frozenset(allowed)) is granted
