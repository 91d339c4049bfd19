from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.host.log.lines import LONGEST_JSON, LONGEST_TEXT, Field, as_json, cut, text

VALUES: st.SearchStrategy[Field] = (
    st.text(st.characters(), max_size=300)
    | st.binary(max_size=300)
    | st.integers(-(2**64), 2**64)
    | st.floats()
    | st.booleans()
    | st.none()
)
FIELDS = st.dictionaries(st.sampled_from(["id", "client", "user", "to", "reply", "cause", "up"]), VALUES)
# A field, as a reader of the log takes lines apart: bare words, or double quotes with backslash escapes.
FIELD = re.compile(r'([a-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "=]+))(?: |$)')


def parse(line: str) -> dict[str, bytes]:
    """What a careful reader gets out of a text line; fails where the line is ambiguous."""
    found: dict[str, bytes] = {}
    at = line.index(" ") + 1 if " " in line else len(line)
    while at < len(line):
        match = FIELD.match(line, at)
        assert match, line[at:]
        key, quoted, bare = match.groups()
        escaped = re.sub(r'\\(["\\])', lambda m: f"\\x{ord(m[1]):02x}", quoted or "")
        found[key] = (
            bare.encode() if bare is not None else escaped.encode().decode("unicode_escape").encode("latin-1")
        )
        at = match.end()
    return found


def test_the_line_of_the_manual() -> None:
    line = text(
        "end",
        {
            "id": "w2-7f3a",
            "client": "10.1.2.3:5121",
            "user": "alice",
            "to": "example.com:443",
            "rule": None,
            "reply": 0,
            "up": 812,
            "resolve": 0.004,
            "total": 3.2,
        },
    )
    assert line == (
        "end id=w2-7f3a client=10.1.2.3:5121 user=alice to=example.com:443"
        " reply=0 up=812 resolve=4ms total=3.200s"
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("a\nb", r'"a\x0ab"'),
        ("\x1b]0;x\x07", r'"\x1b]0;x\x07"'),
        ("\x9b", r'"\xc2\x9b"'),
        ("\u202e", r'"\xe2\x80\xae"'),
        ("\u2028", r'"\xe2\x80\xa8"'),
        ("\udcff", r'"\xff"'),
        ("\ud800", r'"\xed\xa0\x80"'),
        (b"\xff", r'"\xff"'),
        (b"plain", "plain"),
        (b"", '""'),
        ("x from 192.0.2.9", '"x from 192.0.2.9"'),
        (True, "true"),
        (False, "false"),
        (-3, "-3"),
        (0.0, "0ms"),
        (0.9996, "1s"),
    ],
)
def test_how_a_value_is_shown(value: Field, shown: str) -> None:
    assert text("event", {"key": value}) == f"event key={shown}"


@given(FIELDS)
def test_any_fields_give_one_printable_line(fields: dict[str, Field]) -> None:
    line = cut(text("end", fields))
    assert re.fullmatch(rf"[ -~]{{1,{LONGEST_TEXT}}}", line)
    assert line.endswith("...") or len(text("end", fields)) == len(line)


@given(
    st.dictionaries(st.sampled_from(["id", "user", "to"]), st.text(max_size=300) | st.binary(max_size=300))
)
def test_no_value_can_pass_for_another_field(fields: dict[str, str | bytes]) -> None:
    as_bytes = {key: value if isinstance(value, bytes) else value.encode() for key, value in fields.items()}
    assert parse(text("end", fields)) == as_bytes


@given(FIELDS)
def test_any_fields_give_one_json_object(fields: dict[str, Field]) -> None:
    line = as_json("now", "info", "end", fields)
    assert re.fullmatch(rf"[ -~]{{1,{LONGEST_JSON}}}", line)
    assert json.loads(line)["event"] == "end"


@given(
    st.dictionaries(
        st.sampled_from(["id", "user", "to", "up"]),
        st.text(max_size=60) | st.integers(-(2**64), 2**64) | st.booleans() | st.floats(-1e6, 1e6),
    )
)
def test_json_holds_the_same_fields(fields: dict[str, Field]) -> None:
    parsed = json.loads(as_json("now", "info", "end", fields))
    assert list(parsed) == ["time", "level", "event", *fields]
    assert parsed == {"time": "now", "level": "info", "event": "end"} | {
        key: pytest.approx(value, abs=1e-6) if isinstance(value, float) else value
        for key, value in fields.items()
    }


def test_json_shows_bytes_that_are_no_text_as_escapes() -> None:
    line = as_json("now", "info", "end", {"user": b"b\xffb \xc3\xa9", "name": "\udcff", "took": float("inf")})
    parsed = json.loads(line)
    assert parsed["user"] == "b\\xffb é"
    assert parsed["name"] == "\\xff"
    assert parsed["took"] == "inf"


def test_json_that_would_be_too_long_keeps_its_shape() -> None:
    fields: dict[str, Field] = dict.fromkeys(("user", "to"), "\u202e" * 2000)
    line = as_json("now", "info", "end", {"id": "w1-1", **fields})
    parsed = json.loads(line)
    assert len(line) <= LONGEST_JSON
    assert parsed["id"] == "w1-1"
    assert parsed["user"].endswith("...")


def test_json_with_absurdly_many_fields_still_parses() -> None:
    line = as_json("now", "info", "end", dict.fromkeys((f"key{number}" for number in range(2000)), "x"))
    assert json.loads(line) == {"time": "now", "level": "info", "event": "end"}


def test_a_cut_line_says_so() -> None:
    line = cut(text("end", {"to": "x" * 5000}))
    assert len(line) == LONGEST_TEXT
    assert line.endswith("x...")
