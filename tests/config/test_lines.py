from __future__ import annotations

import string
import tomllib
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from forksocks.config.lines import KeyPath, index

DOCUMENT = '''\
# a comment with [brackets] and key = "value"
title = "a # no comment"
"quoted key" = 1

[server]
workers = 2 # so
drain.soft = 'x = [1]'
several = [
  1,  # first
  [2, 3],
  """text
  over = lines
  """, 4,
]

[[listen]]
name = "a"
timeouts = { idle = "1h", "half.closed" = "2m" }
[[listen]]
when = 1979-05-27 07:32:00
[listen.inner]
x = """"quoted\\""""
y = \'\'\'
[z]
\'\'\'
[[listen.many]]
[[listen.many]]
k = 1
[ a . "b c" ]
k = 1
'''


def test_lines_of_everything() -> None:
    assert index(DOCUMENT) == {
        ("title",): 2,
        ("quoted key",): 3,
        ("server",): 5,
        ("server", "workers"): 6,
        ("server", "drain"): 7,
        ("server", "drain", "soft"): 7,
        ("server", "several"): 8,
        ("server", "several", 0): 9,
        ("server", "several", 1): 10,
        ("server", "several", 1, 0): 10,
        ("server", "several", 1, 1): 10,
        ("server", "several", 2): 11,
        ("server", "several", 3): 13,
        ("listen",): 16,
        ("listen", 0): 16,
        ("listen", 0, "name"): 17,
        ("listen", 0, "timeouts"): 18,
        ("listen", 0, "timeouts", "idle"): 18,
        ("listen", 0, "timeouts", "half.closed"): 18,
        ("listen", 1): 19,
        ("listen", 1, "when"): 20,
        ("listen", 1, "inner"): 21,
        ("listen", 1, "inner", "x"): 22,
        ("listen", 1, "inner", "y"): 23,
        ("listen", 1, "many"): 26,
        ("listen", 1, "many", 0): 26,
        ("listen", 1, "many", 1): 27,
        ("listen", 1, "many", 1, "k"): 28,
        ("a", "b c"): 29,
        ("a", "b c", "k"): 30,
    }


def paths(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from paths(inner, (*path, key))
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield (*path, number)
            yield from paths(inner, (*path, number))


TEXTS = st.text(st.sampled_from("ab.#=[]{},'\"\\ \n\t"), max_size=8)
KEYS = st.text(st.sampled_from(string.ascii_lowercase + ".# ="), min_size=1, max_size=4)
PLAIN = st.one_of(st.integers(), st.booleans(), TEXTS)
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)


def written(value: object, breaks: str) -> str:
    """TOML in one of its spellings: strings as basic ones, lists over lines where `breaks` says so."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        if breaks and "\n" in value:
            return f'"""\n{escaped}"""'
        return '"' + escaped.replace("\n", "\\n").replace("\t", "\\t") + '"'
    if isinstance(value, list):
        return "[" + breaks + f", {breaks}".join(written(each, breaks) for each in value) + "]"
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{written(key, '')} = {written(each, '')}" for key, each in value.items()) + "}"
        )
    return str(value)


@given(st.dictionaries(KEYS, VALUES, max_size=5), st.sampled_from(["", "\n", " # ] x\n"]))
@settings(deadline=None, max_examples=150)
def test_every_key_and_item_has_its_line(document: dict[str, object], breaks: str) -> None:
    text = ""
    expected: dict[str, int] = {}
    for key, value in document.items():
        expected[key] = text.count("\n") + 1
        text += f"{written(key, '')} = {written(value, breaks)}\n"
    assert tomllib.loads(text) == document
    found = index(text)
    assert {key: found[key,] for key in document} == expected
    assert set(paths(document)) == set(found)


FRAGMENTS = st.sampled_from(
    [
        *("[t]", "[[l]]", "[l.u]", "[[l.m]]", "[ t . 'u.v' ]", "[[t.'a b']]"),
        *("a = 1", "b.c = {x = [1, {y = 2}], 'z' = ''}", "# [c] = '", "d = [\n1, # ]\n[ ],\n]", "e = 1.5e-3"),
        *("s = '''\n[x]\n'''", 'w = """\\"""\n[y]"""""', "'q.=' = 07:30:00", "", "x", "= 1", '"'),
    ]
)


@given(st.lists(FRAGMENTS, max_size=8))
@settings(deadline=None, max_examples=200)
def test_whatever_tomllib_accepts_is_indexed(fragments: list[str]) -> None:
    text = "\n".join(fragments)
    try:
        document = tomllib.loads(text)
    except ValueError:
        return
    found = index(text)
    # Only a table that a header implies ("[a.b]" without "[a]") has no line of its own.
    assert {
        path for path in paths(document) if not any(known[: len(path)] == path for known in found)
    } == set()
    assert set(found) <= set(paths(document))
