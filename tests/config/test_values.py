from __future__ import annotations

import os
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forksocks.config import binds, values
from forksocks.config.model import Bind, Families, Level
from forksocks.config.sets import SETS
from forksocks.config.values import Wrong

BASE = Path("/base")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("2d", 172800.0),
        ("10 s", 10.0),
        ("24d", 2073600.0),
    ],
)
def test_durations(written: str, seconds: float) -> None:
    assert values.duration(written) == seconds


@pytest.mark.parametrize(
    "wrong",
    [
        10,
        1.5,
        "10",
        "s",
        "",
        "-1s",
        "1.5s",
        "10S",
        "10sec",
        "0s",
        "0ms",
        "25d",
        "1e3s",
        "٣s",
        "9" * 16 + "s",
        True,
        None,
        ["1s"],
    ],
)
def test_wrong_durations(wrong: object) -> None:
    with pytest.raises(Wrong, match="must be a time"):
        values.duration(wrong)


@pytest.mark.parametrize(
    ("written", "size"), [("1B", 1), ("64KiB", 65536), ("3 MiB", 3 << 20), ("2GiB", 2 << 30)]
)
def test_sizes(written: str, size: int) -> None:
    assert values.size(written) == size
    assert values.show(values.size(written)) == f'"{written.replace(" ", "")}"'


@pytest.mark.parametrize(
    "wrong", [64, "64", "MiB", "-1MiB", "1.5GiB", "1MB", "1mib", "0B", "9999999GiB", True, None]
)
def test_wrong_sizes(wrong: object) -> None:
    with pytest.raises(Wrong, match="must be a size"):
        values.size(wrong)


def test_a_duration_may_be_nothing_where_that_means_something() -> None:
    assert values.duration("0s", least=0.0) == 0.0


@given(st.integers(1, 24 * 86_400_000))
@settings(deadline=None)
def test_durations_are_written_back_exactly(milliseconds: int) -> None:
    seconds = values.duration(f"{milliseconds}ms")
    assert values.duration(values.show(seconds)[1:-1]) == seconds


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("0.0.0.0:1080", ["0.0.0.0:1080"]),
        ("192.0.2.1:0", ["192.0.2.1:0"]),
        ("[::]:65535", ["[::]:65535"]),
        ("[2001:db8::1]:1", ["[2001:db8::1]:1"]),
        ("[fe80::1%eth0]:1080", ["[fe80::1%eth0]:1080"]),
        (":1080", ["0.0.0.0:1080", "[::]:1080"]),
        ("unix:/run/s.sock", ["unix:/run/s.sock"]),
        ("unix:s.sock", ["unix:/base/s.sock"]),
    ],
)
def test_binds(written: str, shown: list[str]) -> None:
    assert [str(bind) for bind in binds.binds(written, BASE)] == shown


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("1080", 'write ":1080"'),
        ("*:1080", 'write ":1080"'),
        ("::1:1080", "brackets"),
        ("[fe80::1]:1080", 'write "[fe80::1%eth0]"'),
        ("[2001:db8::1%eth0]:1080", "only link-local addresses"),
        ("[::%eth0]:1080", "only link-local addresses"),
        ("::", "brackets"),
        ("[::1]", "port is missing"),
        ("192.0.2.1", "port is missing"),
        ("socks5://0.0.0.0:1080", 'write "0.0.0.0:1080"'),
        ("systemd:", "a port is a number"),
        ("systemd:two words", "a port is a number"),
        ("localhost:1080", "names are not looked up"),
        ("0.0.0.0:65536", "0 to 65535"),
        ("0.0.0.0:", "0 to 65535"),
        ("0.0.0.0:-1", "0 to 65535"),
        ("0.0.0.0:٣", "0 to 65535"),
        ("[192.0.2.1]:1080", "brackets are for IPv6"),
        ("224.0.0.1:1080", "nobody can listen"),
        ("[::ffff:127.0.0.1]:1080", 'write "127.0.0.1:1080"'),
        ("127.1:1080", '"127.1" is no IPv4 address'),
        ("[::g]:1080", '"::g" is no IPv6 address'),
        ("", "must be an address"),
        ("unix:", "the path is missing"),
        ("unix:a\0b", "must be an address"),
        ("unix:/" + "x" * 120, "at most 107 bytes"),
    ],
)
def test_wrong_binds_say_what_to_write(written: str, hint: str) -> None:
    with pytest.raises(Wrong) as caught:
        binds.binds(written, BASE)
    assert hint in str(caught.value)


def test_the_longest_path_of_a_unix_socket() -> None:
    longest = "/" + "x" * (binds.UNIX_PATH_BYTES - 1)
    assert binds.binds(f"unix:{longest}", BASE) == (Bind(path=Path(longest)),)


@pytest.mark.parametrize(
    "written", ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "0.0.0.0/0", "192.0.2.1/32"]
)
def test_networks(written: str) -> None:
    assert values.selector(written) == ip_network(written)


def test_the_names_of_sets() -> None:
    assert [values.selector(name) for name in SETS] == list(SETS)


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("10.0.0.5/8", 'write "10.0.0.0/8"'),
        ("@privat", "one of @any"),
        ("private", 'did you mean "@private"?'),
        ("example.com", "must be a network"),
        ("10.0.0.0/33", "must be a network"),
        ("fe80::1%eth0", "zone"),
        ("::ffff:10.0.0.0/104", "IPv4"),
        (10, "must be a network"),
        ([], "must be a network"),
    ],
)
def test_wrong_selectors(wrong: object, hint: str) -> None:
    with pytest.raises(Wrong) as caught:
        values.selector(wrong)
    assert hint in str(caught.value)


@pytest.mark.parametrize("wrong", ["0.0.0.0", "::", "224.0.0.1", "fe80::1%lo", "eth0", "10.0.0.0/8", 1])
def test_wrong_egress_addresses(wrong: object) -> None:
    with pytest.raises(Wrong, match="an address of this machine"):
        values.address(wrong)


def test_an_egress_address() -> None:
    assert values.address("192.0.2.7") == ip_address("192.0.2.7")


def test_as_many_workers_as_twice_the_cores_that_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 3, 5}, raising=False)
    assert values.workers("auto") == 6
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set())
    assert values.workers("auto") == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert values.workers("auto") == 16
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert values.workers("auto") == 2


@pytest.mark.parametrize("wrong", [0, -1, 1025, "4", "Auto", 2.0, True, None])
def test_wrong_workers(wrong: object) -> None:
    with pytest.raises(Wrong, match=r'must be "auto" \(twice the cores\) or a whole number from 1 to 1024'):
        values.workers(wrong)


def test_choices() -> None:
    assert values.choice(4, Families) is values.choice("4", Families) is Families.IPV4
    with pytest.raises(Wrong, match='must be "happy-eyeballs", 4 or 6, not true'):
        values.choice(True, Families)


def test_levels() -> None:
    assert values.level("notice") is Level.NOTICE
    with pytest.raises(Wrong, match='"debug" or "trace", not "warning"'):
        values.level("warning")


@pytest.mark.parametrize(
    ("written", "target"),
    [("stderr", "stderr"), ("syslog", "syslog"), ("file:/l", "file:/l"), ("file:l", "file:/base/l")],
)
def test_log_targets(written: str, target: str) -> None:
    assert values.log_target(written, BASE) == target


@pytest.mark.parametrize("wrong", ["", "stdout", "file:", "/var/log/x", "file:a\0b", 1, "file:\udcff"])
def test_wrong_log_targets(wrong: object) -> None:
    with pytest.raises(Wrong, match='must be "stderr", "syslog" or "file:/path"'):
        values.log_target(wrong, BASE)


def test_a_log_target_that_is_a_path_alone() -> None:
    with pytest.raises(Wrong, match=r'not "/var/log/x": write "file:/var/log/x"$'):
        values.log_target("/var/log/x", BASE)


def test_a_number_in_quotes() -> None:
    with pytest.raises(Wrong, match=r'not "4": leave out the quotes$'):
        values.count("4", 1, 9)


def test_wrong_items_are_told_all_with_their_places() -> None:
    with pytest.raises(Wrong) as caught:
        values.items(["10.0.0.0/8", "x", "@y"], values.selector)
    assert [position for position, _ in caught.value.items] == [1, 2]


def test_a_text_in_place_of_a_list_shows_how_to_write_it() -> None:
    with pytest.raises(Wrong, match=r'must be a list, not ":1080": write \[":1080"\]'):
        values.items(":1080", values.selector)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\x1b[2J\n\u202e\x7f\x9b", r'"a\u001B[2J\u000A\u202E\u007F\u009B"'),
        ("\U000e0001", r'"\U000E0001"'),
        ('"\\', r'"\"\\"'),
        ("x" * 99, '"' + "x" * 60 + '..."'),
        (True, "true"),
        ([1], "a list"),
        ({}, "a table"),
        (1.5, "1.5"),
        (10**70, "1" + "0" * 59 + "..."),
        pytest.param(16**9999, "a number too long to show", id="16**9999"),
    ],
)
def test_wrong_values_are_shown_short_and_harmless(value: object, shown: str) -> None:
    assert values.shown(value) == shown
