from __future__ import annotations

import math
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksocks.access import bans, lockout
from forksocks.access.bans import Bans, Full
from forksocks.access.lockout import Lockout
from forksocks.config.model import LockoutConfig
from forksocks.host.scoreboard.page import Page

NOW = 1_000_000.0
INSIDE, OUTSIDE = ip_address("192.0.2.7"), ip_address("192.0.3.7")


def made(now: float = NOW) -> Bans:
    return Bans(lambda: now)


def test_a_network_of_any_size_and_a_name_are_banned() -> None:
    banned = made()
    banned.add(ip_network("192.0.2.0/24"), NOW + 60)
    banned.add(ip_network("2001:db8::/32"), math.inf)
    banned.add(b"mallory", NOW + 5)
    assert banned.left(b"alice", INSIDE) == 60
    assert banned.left(b"alice", OUTSIDE) is None
    assert banned.left(b"alice", ip_address("2001:db8:1::1")) == math.inf
    assert banned.left(b"alice", None) is None
    assert banned.left(b"mallory", OUTSIDE) == 5
    assert banned.left(b"mallory", INSIDE) == 60, "the longest counts"


def test_what_is_over_is_forgotten_and_what_is_said_again_replaced() -> None:
    now = [NOW]
    banned = Bans(lambda: now[0])
    for seconds in (10, 20):
        banned.add(ip_network("192.0.2.0/24"), NOW + seconds)
    banned.add(b"alice", NOW + 5)
    now[0] += 15
    assert banned.left(b"alice", INSIDE) == 5
    assert banned.all() == [(ip_network("192.0.2.0/24"), NOW + 20)]
    now[0] += 5
    assert banned.left(b"alice", INSIDE) is None
    assert banned.all() == []


def test_they_are_as_many_as_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bans, "MOST", 2)
    banned = made()
    for name in (b"a", b"b", b"a"):
        banned.add(name, math.inf)
    with pytest.raises(Full, match="2 bans"):
        banned.add(b"c", math.inf)
    banned.remove(lambda subject: subject == b"a", 9)
    banned.add(b"c", math.inf)


subjects = st.one_of(
    st.binary(min_size=1, max_size=255),
    st.ip_addresses(v=4).map(ip_network),
    st.ip_addresses(v=6).map(lambda address: ip_network(f"{address}/48", strict=False)),
)


@given(st.dictionaries(subjects, st.sampled_from([math.inf, NOW + 1, NOW + 1e6])))
def test_another_process_goes_on_where_this_one_was(wanted: dict[bans.Subject, float]) -> None:
    banned, other = made(), made()
    for subject, until in wanted.items():
        banned.add(subject, until)
    other.load(banned.dump())
    assert dict(other.all()) == dict(banned.all())


@given(st.binary(max_size=300))
def test_any_bytes_are_listed_or_left_out(written: bytes) -> None:
    list(lockout.listed(written))
    made().load(written)


def test_a_list_has_those_by_hand_and_those_who_guessed() -> None:
    page, changed = Page.make(4096), []
    config = LockoutConfig(failures=2, ban=60.0)
    guard = Lockout(config, page, b"", lambda: changed.append(1), lambda: NOW)
    for _ in range(2):
        guard.throttle.failed(b"al:ice", ip_address("2001:db8::7"))
    guard.ban({"network": "192.0.2.0/24", "until": str(NOW + 5)})
    guard.save()
    found = list(lockout.listed(page.read(), lambda: NOW))
    keys = ("network", "user", "by", "failures", "bans", "until", "seconds")
    assert [tuple(each[key] for key in keys) for each in found] == [
        ("192.0.2.0/24", "", "hand", 0, 0, NOW + 5, 5.0),
        ("2001:db8::/64", "", "lockout", 2, 1, NOW + 60, 60.0),
        ("", "al%3Aice", "lockout", 2, 1, NOW + 60, 60.0),
    ]
    assert changed == [1]
    successor = Lockout(config, page, page.read(), lambda: None, lambda: NOW)
    assert successor.by_hand(b"x", INSIDE) == 5
    assert [each["network"] for each in successor.unban({"network": "::/0"})["bans"]] == ["2001:db8::/64"]
    assert successor.by_hand(b"x", INSIDE) == 5
    page.close()


def test_many_are_lifted_in_parts_that_fit_an_answer() -> None:
    page = Page.make(1 << 20)
    guard = Lockout(LockoutConfig(), page, b"", lambda: None, lambda: NOW)
    for number in range(250):
        guard.ban({"network": f"10.0.{number}.0/24"})
    lifted = [len(guard.unban({"network": "10.0.0.0/8"})["bans"]) for _ in range(4)]
    assert lifted == [lockout.AT_A_TIME, lockout.AT_A_TIME, 50, 0]
    page.close()


@pytest.mark.parametrize("until", ["nan", "inf", "-1", "1795000000000000", "soon"])
def test_a_time_that_is_none_bans_nobody(until: str) -> None:
    page = Page.make(4096)
    guard = Lockout(LockoutConfig(), page, b"", lambda: None, lambda: NOW)
    assert "error" in guard.ban({"user": "bob", "until": until})
    assert guard.by_hand(b"bob", None) is None
    page.close()


def test_a_user_who_is_held_up_in_one_network_is_listed_and_pardoned_by_either() -> None:
    for about in ({"user": "alice"}, {"network": "192.0.2.7"}):
        page = Page.make(4096)
        guard = Lockout(LockoutConfig(failures=1), page, b"", lambda: None, lambda: NOW)
        guard.throttle.succeeded(b"alice", INSIDE)
        guard.throttle.failed(b"alice", INSIDE)
        guard.save()
        (found,) = lockout.listed(page.read(), lambda: NOW)
        assert (found["network"], found["user"]) == ("192.0.2.7/32", "alice")
        assert guard.unban(about)["bans"] == [found]
        page.close()
