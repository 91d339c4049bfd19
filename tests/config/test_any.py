"""Whatever a file or a flag says, there is a Config or one ConfigError; and what is shown loads back."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forksocks.config import schema, show, values
from forksocks.config.load import ConfigError, Flag, Loaded, load, load_text
from forksocks.config.model import Config

BASE = Path("/base")

# Values near those that are right: the right ones, their neighbours, and other types.
TEXTS = st.one_of(
    st.sampled_from(
        [
            *(
                "auto",
                "3",
                "10s",
                "250ms",
                "0s",
                "25d",
                "64KiB",
                "none",
                "password",
                "splice",
                "json",
                "trace",
                "4",
            ),
            *("0.0.0.0:1080", ":1080", "[::1]:0", "unix:s", "unix:/" + "x" * 110, "10.0.0.0/8", "10.0.0.1/8"),
            *(
                "@any",
                "@attached",
                "@nobody",
                "192.0.2.7",
                "2001:db8::7",
                "syslog",
                "file:log",
                "stderr",
                "nobody",
            ),
        ]
    ),
    st.text(max_size=12),
)
SCALARS = st.one_of(
    TEXTS,
    st.integers(-1, 70000),
    st.integers(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
)
ANYTHING = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.lists(TEXTS, min_size=1, max_size=3),
    st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=5), SCALARS, max_size=2),
)


def tables(section: type) -> st.SearchStrategy[dict[str, object]]:
    """A section with some of its keys, right or wrong, and perhaps one that does not exist."""
    names = [*schema.keys(section), *schema.tables(section), "unknown"]
    inner = [tables(each) for each in schema.tables(section).values()]
    return st.dictionaries(st.sampled_from(names), st.one_of(ANYTHING, *inner), max_size=6)


DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(tables(section), max_size=3)
        if name == "listen"
        else st.one_of(tables(section), tables(section), ANYTHING)
        for name, section in schema.sections().items()
    },
)


def written(value: object) -> str:
    """TOML, with tables inline."""
    if isinstance(value, str):
        return values.quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{values.quoted(key)} = {written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(each) for each in value) + "]"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def outcome(make: Callable[[], Loaded]) -> Loaded | ConfigError:
    """What loading gives; any other exception fails the test."""
    wrong = None
    try:
        loaded = make()
        assert isinstance(loaded.config, Config)
        return loaded
    except ConfigError as error:
        wrong = error
    lines = str(wrong).split("\n")
    assert len(lines) == len(wrong.problems) > 0
    assert all(line.isprintable() for line in lines)
    return wrong


def of_document(document: Mapping[str, object]) -> Loaded | ConfigError:
    text = "".join(f"{name} = {written(value)}\n" for name, value in document.items())
    return outcome(lambda: load_text(text, base=BASE))


@given(DOCUMENTS)
@settings(deadline=None, max_examples=150)
def test_any_document_near_the_schema(document: dict[str, object]) -> None:
    of_document(document)


@given(st.text(max_size=60))
@settings(deadline=None, max_examples=100)
def test_any_text(text: str) -> None:
    outcome(lambda: load_text(text, base=BASE))


@given(st.binary(max_size=60))
@settings(deadline=None, max_examples=50)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-bytes.toml"
    path.write_bytes(content)
    outcome(lambda: load(path, {}))


@given(
    st.dictionaries(
        st.sampled_from(
            [f"{name}.{key}" for name, each in schema.sections().items() for key in schema.keys(each)]
        ),
        st.text(max_size=12) | TEXTS,
        max_size=5,
    ),
    st.lists(TEXTS, max_size=3),
)
@settings(deadline=None, max_examples=150)
def test_any_flags(given_flags: dict[str, str], addresses: list[str]) -> None:
    flags = {
        key: Flag(f"--{key}", value) for key, value in given_flags.items() if not key.startswith("listen.")
    }
    if addresses:
        flags["listen.bind"] = Flag("command line", addresses)
    outcome(lambda: load(None, flags))


PATHS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=10
).map("/".__add__)
DURATIONS = st.integers(1, 10**9).map("{}ms".format)
NETWORKS = st.lists(
    st.sampled_from(["10.0.0.0/8", "::/0", "@any", "@self", "192.0.2.7"]), min_size=1, max_size=3
)
PORTS = st.integers(1, 65535)
TIMEOUTS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(schema.keys(schema.sections()["timeouts"]), DURATIONS)
)
RIGHT = st.fixed_dictionaries(
    {},
    optional={
        "server": st.fixed_dictionaries(
            {},
            optional={
                "workers": st.integers(1, 1024) | st.just("auto"),
                "threads": st.integers(100, 65536),
                "drain": DURATIONS,
                "daemon": st.booleans(),
                "pidfile": PATHS.map("/run".__add__),
                "relay": st.sampled_from(["auto", "splice", "copy"]),
                "sandbox": st.sampled_from(["auto", "require", "off"]),
            },
        ),
        "listen": st.lists(
            st.fixed_dictionaries(
                {
                    "bind": st.lists(PORTS, min_size=1, max_size=3, unique=True).map(
                        lambda all: [f"10.0.0.1:{p}" for p in all]
                    )
                },
                optional={"backlog": PORTS, "timeouts": TIMEOUTS},
            ),
            max_size=1,
        ),
        "access": st.fixed_dictionaries({}, optional={"allow_from": NETWORKS, "allow_to": NETWORKS}),
        "auth": st.fixed_dictionaries({}, optional={"users": PATHS}),
        "dns": st.fixed_dictionaries({}, optional={"families": st.sampled_from([4, "6", "happy-eyeballs"])}),
        "timeouts": TIMEOUTS,
        "log": st.fixed_dictionaries(
            {"to": st.one_of(st.just("syslog"), PATHS.map("file:/log".__add__))},
            optional={"level": st.sampled_from(["error", "info", "trace"])},
        ),
    },
)


@given(RIGHT)
@settings(deadline=None, max_examples=100)
def test_what_is_shown_loads_back_to_the_same(document: dict[str, object]) -> None:
    loaded = of_document(document)
    assert isinstance(loaded, Loaded), loaded
    again = load_text(show.effective(loaded), base=Path("/elsewhere"))
    assert again.config == loaded.config
