from __future__ import annotations

import json

import pytest

from forksocks.host.scoreboard.refusals import LONGEST
from forksocks.session.refusal import encoded, shown


@pytest.mark.parametrize(
    ("first", "kept"),
    [
        (b"", b""),
        (b"\x05", b"\x05"),
        (b"\x05\x01\x02", b"\x05\x01\x02"),
        (b"\x05\x02\x00\x02\x01\x05alice\x06secret", b"\x05\x02\x00\x02"),
        (b"\x04\x01\x00\x50\x01\x02\x03\x04bob\0", b"\x04\x01\x00\x50\x01\x02\x03\x04bob\0"),
        (b"\x01\x05alice\x06secret", b"\x01\x05al"),
        (b"GET http://bob:secret@ex", b"GET http"),
        (b"GET /?password=secret", b"GET /"),
        (b"\x16\x03\x01\x02\x00:\x01", b"\x16\x03\x01\x02\x00:\x01"),
        (b"hunter2\r\n", b"hunt"),
    ],
)
def test_no_first_bytes_are_of_a_password(first: bytes, kept: bytes) -> None:
    assert shown(first) == kept


def test_whatever_a_client_asks_for_has_room() -> None:
    fields = (
        "id",
        "listen",
        "client",
        "user",
        "userid",
        "cmd",
        "to",
        "addr",
        "rule",
        "cause",
        "hint",
        "first",
    )
    assert json.loads(encoded({"id": "w1", "user": b"\xe9", "reply": 2, "rule": None})) == {
        "id": "w1",
        "user": "\\xe9",
        "reply": "2",
    }
    for character in ("a", "\0", "\N{SNOWMAN}", "\N{GRINNING FACE}"):
        data = encoded(dict.fromkeys(fields, character * 1000))
        assert len(data) <= LONGEST
        assert set(json.loads(data)) == set(fields)
