from __future__ import annotations

from typing import Any

import pytest

from forksocks.verbs.anonymous import Anonymous


def test_the_same_is_the_same_within_one_dump_alone() -> None:
    one, other = Anonymous(), Anonymous()
    assert one.word("alice") == one.word("alice") != one.word("bob")
    assert one.word("alice") != other.word("alice")
    assert one.word("") == ""


def test_what_is_not_known_to_be_harmless_is_replaced() -> None:
    anonymous = Anonymous()
    found: dict[str, Any] = {
        "id": "w1-69255e41-7f", "state": "tunnel", "user": "alice", "client": "192.0.2.1:5000",
        "to": "[2001:db8::1]:443", "up": 12, "rule": "", "novel": "alice", "first": "050102ff0a",
        "when": 'clients = ["192.0.2.0/24"], ports = ["25"]', "ends": {"idle": 3},
        "listeners": [{"listener": "lan", "addresses": ["192.0.2.9:1080"]}], "error": "no user alice",
    }  # fmt: skip
    told = anonymous.object(found)
    assert (told["id"], told["state"], told["up"], told["rule"]) == ("w1-69255e41-7f", "tunnel", 12, "")
    assert told["user"] == told["novel"] == anonymous.word("alice")
    assert told["client"] == f"{anonymous.word('192.0.2.1')}:5000"
    assert told["to"] == f"{anonymous.word('[2001:db8::1]')}:443"
    assert (told["first"], told["when"], told["ends"]) == ("0501", "clients, ports", {"idle": 3})
    assert told["listeners"][0]["addresses"] == [f"{anonymous.word('192.0.2.9')}:1080"]
    text = str(told)
    for secret in ("alice", "192.0.2", "2001:db8", "lan", "ff0a"):
        assert secret not in text


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("server.threads", "1024", True),
        ("server.user", '"alice"', False),
        ("server.user", "not set", True),
        ("timeouts.idle", '"10m"', True),
        ("limit.person.new", '"5/s burst 10"', True),
        ("listen.alice.auth", '["password"]', True),
        ("listen.alice.bind", '["192.0.2.9:1080"]', False),
        ("listen.a.b.timeouts.idle", '"1h"', True),
        ("egress.addresses", "[]", True),
        ("rule.alice.to", '["192.0.2.0/24"]', False),
        ("udp.advertise", '"192.0.2.1"', False),
        ("log.to", '"file:/srv/alice"', False),
        ("access.open_proxy", "false", True),
        ("rule order", "alice bob", False),
    ],
)
def test_settings_keep_their_keys_and_harmless_values(key: str, value: str, kept: bool) -> None:
    anonymous = Anonymous()
    told = anonymous.setting({"key": key, "value": value})
    assert (told["value"] == value) == kept
    assert "alice" not in str(told)
    assert "192.0.2" not in str(told)
    assert told["key"].rpartition(".")[2] == key.rpartition(".")[2]
    assert ".a.b." not in told["key"]
