from __future__ import annotations

from forksocks.config.flat import NOT_SET, differences, flat
from forksocks.config.load import load_text

TEXT = """
[server]
threads = 77
[[listen]]
name = "lan"
bind = ["127.0.0.1:1080"]
[listen.timeouts]
handshake = "7s"
[limit.person]
per = "user"
connections = 5
[[rule]]
name = "staff"
action = "allow"
limits = ["person"]
"""


def test_every_part_has_keys_of_its_own() -> None:
    found = flat(load_text(TEXT).config)
    assert (found["server.threads"], found["auth.users"]) == ("77", NOT_SET)
    assert found["listen.lan.timeouts.handshake"] == '"7s"'
    assert (found["limit.person.connections"], found["rule order"]) == ("5", "staff")
    assert found["rule.staff.limits"] == '["person"]'


def test_what_differs() -> None:
    before = flat(load_text(TEXT).config)
    assert list(differences(before, before)) == []
    after = flat(load_text(TEXT.replace("77", "78") + '[[rule]]\nname = "others"\naction = "deny"\n').config)
    found = {key: values for key, *values in differences(before, after)}
    assert found["server.threads"] == ["77", "78"]
    assert found["rule order"] == ["staff", "staff others"]
    assert found["rule.others.action"] == [NOT_SET, '"deny"']
    assert found.keys() <= {"server.threads", "rule order"} | {
        key for key in after if key.startswith("rule.others.")
    }
