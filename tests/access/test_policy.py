from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path

import pytest

from forksocks.access import audit, cases
from forksocks.access.policy import PolicyError, compiled
from forksocks.config.load import load_text
from forksocks.config.model import Config, Ports
from tests.access.fakes import routes


def config(text: str, base: Path | None = None) -> Config:
    return load_text(text, base=base or Path("/etc")).config


def test_sets_stand_for_their_lists() -> None:
    text = """
    [sets.office]
    clients = ["10.0.0.0/8", "@loopback"]
    users = ["alice"]
    groups = ["staff"]
    to = [".corp.example"]
    ports = [80, "90-99"]
    [[rule]]
    name = "office"
    action = "allow"
    clients = ["@office", "192.0.2.0/24"]
    users = ["bob", "@office"]
    groups = ["@office", "admin"]
    to = ["@office", "@private", "198.51.100.0/24"]
    ports = ["@office", 443]
    """
    (rule,) = compiled(config(text)).rules
    assert rule.clients == (ip_network("10.0.0.0/8"), "@loopback", ip_network("192.0.2.0/24"))
    assert rule.users == (b"bob", b"alice")
    assert rule.groups == ("staff", "admin")
    assert (rule.to_names, rule.to_networks) == (
        (".corp.example",),
        ("@private", ip_network("198.51.100.0/24")),
    )
    assert rule.ports == (Ports(80, 80), Ports(90, 99), Ports(443, 443))


def test_a_fifo_of_entries_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    text = '[[rule]]\nname = "r"\naction = "deny"\nto = ["file:fifo"]'
    with pytest.raises(PolicyError, match="fifo cannot be read: it is a pipe"):
        compiled(config(text, tmp_path))


def test_files_hold_an_entry_a_line(tmp_path: Path) -> None:
    (tmp_path / "hosts.list").write_text(
        "# what\n10.0.0.0/8\n\n.Ads.Example.  # all of them\n  www.example\n"
    )
    (tmp_path / "clients.list").write_text("192.0.2.7\n")
    (tmp_path / "users.list").write_text("alice\nbob\n")
    text = """
    [sets]
    ads = { to = ["file:hosts.list"] }
    [[rule]]
    name = "r"
    action = "deny"
    to = ["@ads"]
    clients = ["file:clients.list"]
    users = ["file:users.list"]
    """
    (rule,) = compiled(config(text, tmp_path)).rules
    assert (rule.to_names, rule.to_networks) == ((".ads.example", "www.example"), (ip_network("10.0.0.0/8"),))
    assert (rule.clients, rule.users) == ((ip_network("192.0.2.7"),), (b"alice", b"bob"))


def test_everything_that_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("ok.example\n1.2.3\n" + "-x\n" * 20)
    text = '[[rule]]\nname = "r"\naction = "deny"\nto = ["file:list"]\nclients = ["file:gone", "file:list"]\n'
    with pytest.raises(PolicyError) as caught:
        compiled(config(text, tmp_path))
    problems = [text.replace(str(tmp_path), "") for _, text in caught.value.problems]
    assert {key for key, _ in caught.value.problems} == {"rule.0.to", "rule.0.clients"}
    assert problems[0] == '/list:2: must be a network, a name or ".domain", not "1.2.3"'
    assert "/list: and 11 more lines like these" in problems
    assert "/gone cannot be read: No such file or directory" in problems
    assert '/list:1: must be a network as "192.0.2.0/24", not "ok.example"' in problems


RULES = """
[access]
allow_from = ["10.0.0.0/8", "192.0.2.0/24"]
allow_to = ["@private"]
[[rule]]
name = "no-smtp"
ports = [25]
action = "deny"
[[rule]]
name = "inside"
to = ["10.0.0.0/8"]
action = "report"
[[rule]]
name = "lan"
clients = ["10.0.0.0/8"]
action = "allow"
"""


def judge(text: str) -> cases.Judge:
    made = config(text)
    return cases.Judge(made, compiled(made), routes(), in_container=False)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ('client = "10.1.2.3", to = "example.com:25"', "deny no-smtp"),
        ('client = "10.1.2.3", to = "example.com:443"', "allow"),
        ('client = "10.1.2.3", to = "example.com:443", address = "93.184.216.34"', "allow lan"),
        ('client = "10.1.2.3", to = "example.com:443", address = "10.0.0.1"', "report inside"),
        ('client = "10.1.2.3", to = "[::1]:443"', "deny @loopback"),
        ('client = "10.1.2.3", to = "127.0.0.1:443"', "deny @loopback"),
        ('client = "192.0.2.1", to = "93.184.216.34:443"', "deny"),
        ('client = "198.51.100.1", to = "93.184.216.34:443"', "deny @clients"),
        ('client = "10.1.2.3", user = "alice", to = "93.184.216.34:443"', "deny @clients"),
    ],
)
def test_a_case_is_judged_as_a_session_would(given: str, verdict: str) -> None:
    text = f'{RULES}[[test]]\ngiven = {{ {given} }}\nexpect = "{verdict}"\n'
    made = config(text)
    found = judge(RULES).decide(made.test[0].given)
    assert str(found) == verdict
    assert found.allowed is verdict.startswith(("allow", "report"))
    assert list(cases.failures(judge(RULES), made.test)) == []


def test_a_test_that_fails_says_what_was_expected_and_what_came() -> None:
    text = RULES + '[[test]]\ngiven = { client = "10.1.2.3", to = "a.example:25" }\nexpect = "allow"\n'
    ((number, said),) = cases.failures(judge(RULES), config(text).test)
    assert number == 0
    assert said == "expected allow, got deny no-smtp: anyone from 10.1.2.3 to a.example:25 (connect)"


def test_a_test_whose_client_is_not_admitted_says_by_what() -> None:
    text = RULES + '[[test]]\ngiven = { client = "198.51.100.1", to = "a.example:25" }\nexpect = "allow"\n'
    ((_, said),) = cases.failures(judge(RULES), config(text).test)
    assert "got deny @clients ([access] allow_from does not admit this client): anyone from" in said


def test_rules_about_users_where_nobody_says_who_it_is() -> None:
    made = config(rule("r", users='["alice"]'))
    told = {"rule.0.users": '"r" can never match: no listener asks who somebody is'}
    assert dict(audit.warnings(made, compiled(made))) == told
    made = config('[auth]\nusers = "/u"\n' + rule("r", users='["alice"]'))
    assert dict(audit.warnings(made, compiled(made))) == {}


def test_rules_about_groups_without_a_file_that_has_them() -> None:
    made = config(rule("r", groups='["staff"]'))
    told = {"rule.0.groups": '"r" can never match: there is no [auth] users with groups'}
    assert dict(audit.warnings(made, compiled(made))) == told
    made = config('[auth]\nusers = "/u"\n' + rule("r", groups='["staff"]'))
    assert dict(audit.warnings(made, compiled(made))) == {}


def test_a_test_says_which_groups_its_user_is_in() -> None:
    rules = '[auth]\nusers = "/u"\n' + rule("staff", groups='["staff"]', action='"allow"')
    for groups, verdict in (('["staff"]', "allow staff"), ('["b"]', "deny")):
        text = (
            f'[[test]]\ngiven = {{ to = "a.example:1", user = "u", groups = {groups} }}\nexpect = "{verdict}"'
        )
        made = config(rules + text)
        assert list(cases.failures(judge(rules), made.test)) == []
        assert cases.describe(made.test[0].given).startswith("u (")


def test_who_needs_no_password_where_nobody_does() -> None:
    text = '[access]\nwithout_password = ["@loopback"]\n'
    made = config(text)
    assert list(dict(audit.warnings(made, compiled(made)))) == ["access.without_password"]
    both = '[auth]\nusers = "/u"\n[[listen]]\nbind = [":1"]\nauth = ["none", "password"]\n'
    made = config(text + both)
    assert dict(audit.warnings(made, compiled(made))) == {}


def rule(name: str, **keys: str) -> str:
    lines = [
        f'[[rule]]\nname = "{name}"',
        *(f"{key} = {value}" for key, value in ({"action": '"deny"'} | keys).items()),
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("earlier", "later", "covered"),
    [
        ({}, {"ports": "[25]"}, True),
        ({"ports": "[25]"}, {}, False),
        ({"ports": '["1-99"]'}, {"ports": '[25, "80-99"]'}, True),
        ({"ports": '["1-99"]'}, {"ports": '["80-100"]'}, False),
        ({"clients": '["10.0.0.0/8"]'}, {"clients": '["10.1.0.0/16"]'}, True),
        ({"clients": '["10.1.0.0/16"]'}, {"clients": '["10.0.0.0/8"]'}, False),
        ({"clients": '["10.0.0.0/9", "10.128.0.0/9"]'}, {"clients": '["10.0.0.0/8"]'}, True),
        ({"clients": '["10.0.0.0/8"]'}, {}, False),
        ({"clients": '["@any"]'}, {"clients": '["@private"]'}, True),
        ({"to": '[".example.com"]'}, {"to": '["www.example.com"]'}, True),
        ({"to": '[".example.com"]'}, {"to": '[".a.example.com", ".example.com"]'}, True),
        ({"to": '[".example.com"]'}, {"to": '["example.com"]'}, False),
        ({"to": '["10.0.0.0/8"]'}, {"to": '["10.0.0.0/8", "a.example"]'}, False),
        ({"to": '["10.0.0.0/8"]'}, {}, False),
        ({"users": '["a", "b"]'}, {"users": '["a"]'}, True),
        ({"groups": '["a", "b"]'}, {"groups": '["a"]'}, True),
        ({"groups": '["a"]'}, {"users": '["a"]'}, False),
        ({"times": '["08:00-09:00"]'}, {}, False),
        ({"commands": '["udp"]'}, {"commands": '["connect"]'}, False),
    ],
)
def test_a_rule_that_an_earlier_one_covers_is_told(
    earlier: dict[str, str], later: dict[str, str], covered: bool
) -> None:
    made = config(rule("first", **earlier) + rule("second", **later))
    found = dict(audit.warnings(made, compiled(made)))
    assert (found.get("rule.1") == '"second" can never match: "first" takes everything before it') is covered
    assert "rule.0" not in found


@pytest.mark.parametrize(
    ("access", "keys", "told"),
    [
        ('allow_from = ["0.0.0.0/0"]', {}, True),
        ('allow_from = ["@any"]', {"clients": '["@any"]'}, True),
        ('allow_from = ["@any"]', {"clients": '["10.0.0.0/8"]'}, False),
        ('allow_from = ["@any"]', {"users": '["alice"]'}, False),
        ('allow_from = ["@any"]', {"groups": '["staff"]'}, False),
        ('allow_from = ["10.0.0.0/8"]', {}, False),
        ("open_proxy = true", {}, False),
        ("", {}, False),
    ],
)
def test_a_rule_that_lets_the_internet_in_is_told(access: str, keys: dict[str, str], told: bool) -> None:
    made = config(f"[access]\n{access}\n" + rule("r", **{"action": '"allow"', **keys}))
    assert ("rule.0" in dict(audit.warnings(made, compiled(made)))) is told


def test_a_set_that_no_rule_uses_is_told() -> None:
    made = config("[sets]\na = { ports = [1] }\nb = { ports = [2] }\n" + rule("r", ports='["@b"]'))
    assert dict(audit.warnings(made, compiled(made))) == {"sets.a": "is used by no rule"}
