"""Rules, sets and tests in the file: what is taken, and what is said about the rest."""

from __future__ import annotations

import pytest

from forksocks.config.load import ConfigError, load_text
from forksocks.config.model import Window
from forksocks.config.show import effective

RULE = '[[rule]]\nname = "r"\naction = "deny"\n'


def told(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('to = ["1.2.3"]', 'must be a network, a name as "www.example.com"'),
        ('to = ["a..b"]', "must be a network, a name"),
        ('to = ["@off ice"]', 'must be a set as "@office", not "@off ice"'),
        ('to = ["10.0.0.1/8"]', 'names an address and a network: write "10.0.0.0/8"'),
        ('to = ["@self"]', "cannot have @self, which changes with the machine"),
        ('clients = ["a.example"]', 'must be a network as "192.0.2.0/24", "@set" or "file:/path"'),
        ('clients = ["@nobody"]', "names @nobody, and there is no such set"),
        ('users = ["@private"]', "cannot have @private, which is a set of addresses"),
        ('users = ["@ofice"]\n[sets]\noffice = { users = ["a"] }', 'did you mean "@office"?'),
        ('users = ["@office"]\n[sets]\noffice = { ports = [1] }', "[sets.office] has no users"),
        (f'users = ["{"x" * 256}"]', "is longer than 255 bytes (RFC 1929)"),
        ('ports = ["9-8"]', 'must be a port or a range of ports as 443 or "8000-8999", not "9-8"'),
        ("ports = [70000]", "must be a port or a range of ports"),
        ("ports = [true]", "must be a port or a range of ports"),
        ('times = ["8-18"]', 'must be hours as "08:00-18:00", "mon-fri 08:00-18:00"'),
        ('times = ["mon-foo 08:00-18:00"]', "must be hours"),
        ('times = ["08:00-08:00"]', "must be hours"),
        ('times = ["08:60-09:00"]', "must be hours"),
        ('commands = ["conect"]', 'must be "connect", "bind", "udp" or "resolve", not "conect"'),
        ('listen = ["lan"]', 'there is no listener "lan"'),
        ("prots = [25]", 'unknown key "prots"; did you mean "ports"?'),
        ('[[rule]]\nname = "r"\naction = "deny"', '"r" is taken by another rule'),
        ('[[rule]]\nname = "s"', "needs action"),
        ('[sets]\nself = { users = ["a"] }', "@self is built in: take another name"),
        ('[sets]\na = { users = ["@b"] }', "[sets.a] users cannot have @b"),
        ('[sets]\n"a b" = { users = ["b"] }', "must be a name of 1 to 32 letters"),
        ("[sets]\na = 3", "must be a table, not 3"),
        ('[[test]]\nexpect = "allow"', "needs given"),
        ('[[test]]\ngiven = { to = "a" }\nexpect = "allow"', 'must be a destination as "example.com:443"'),
        ('[[test]]\ngiven = { to = "::1:80" }\nexpect = "allow"', "must be a destination"),
        ('[[test]]\ngiven = { to = "a:0" }\nexpect = "allow"', "must be a destination"),
        ('[[test]]\ngiven = { to = "a:1", client = "x" }\nexpect = "allow"', "must be an address"),
        (
            '[[test]]\ngiven = { to = "a:1" }\nexpect = "maybe"',
            'must be "allow", "deny" or, to name the reason',
        ),
        ('[[test]]\ngiven = { to = "a:1", listen = "lan" }\nexpect = "deny"', 'there is no listener "lan"'),
    ],
)
def test_what_is_wrong_is_said(line: str, said: str) -> None:
    assert said in told(RULE + line)


def test_one_rule_is_a_list_of_one() -> None:
    assert "must be written [[rule]]: there may be several" in told('[rule]\nname = "r"\naction = "deny"')


@pytest.mark.parametrize(
    ("written", "window"),
    [
        ("08:00-18:00", Window((0, 1, 2, 3, 4, 5, 6), 480, 1080)),
        ("mon-fri 08:30-24:00", Window((0, 1, 2, 3, 4), 510, 1440)),
        ("sat,sun 22:00-06:00", Window((5, 6), 1320, 360)),
        ("fri-mon 00:00-24:00", Window((0, 4, 5, 6), 0, 1440)),
    ],
)
def test_hours(written: str, window: Window) -> None:
    (rule,) = load_text(f'{RULE}times = ["{written}"]').config.rule
    assert rule.times == (window,)


def test_what_is_shown_loads_back_with_its_lines() -> None:
    text = (
        '[sets]\noffice = { clients = ["10.0.0.0/8"], ports = [80] }\n'
        f'{RULE}clients = ["@office"]\nports = ["@office", "1-9", 443]\nto = [".Example.Com.", "::/0"]\n'
        'times = ["mon-fri 08:00-18:00"]\ncommands = ["udp"]\nusers = ["alice", "file:users"]\n'
        '[[test]]\ngiven = { to = "[::1]:80", client = "10.0.0.1", user = "bob" }\nexpect = "deny r"\n'
    )
    loaded = load_text(text)
    shown = effective(loaded)
    assert load_text(shown).config == loaded.config
    assert 'clients = ["@office"]' in shown
    assert "forksocks.toml:6" in shown
    assert loaded.config.rule[0].to[0] == ".example.com"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "[limit.a] needs per"),
        ('per = "user"', "forksocks.toml:1: [limit.a] limits nothing: set connections, associations or new"),
        ('per = "users"\nnew = "1/s"', 'forksocks.toml:2: [limit.a] per must be "user", "address"'),
        ('per = "rule"\nconnections = 1', '"rule" needs rules: there is no [[rule]]'),
        ('per = "all"\nconnections = 0', "must be a whole number from 1"),
        ('per = "all"\nnew = "0/s"', 'must be a rate as "50/s", "300/m" or "50/s burst 100"'),
        ('per = "all"\nnew = "5/x"', "must be a rate"),
        ('per = "all"\nconections = 0', 'unknown key "conections"; did you mean "connections"?'),
    ],
)
def test_what_is_wrong_with_a_limit_is_said(line: str, said: str) -> None:
    assert said in told(f"[limit.a]\n{line}\n")


def test_a_rule_names_a_limit_that_is_there() -> None:
    said = told(RULE + 'limits = ["persn"]\n[limit.person]\nper = "user"\nnew = "1/s"\n')
    assert said == 'forksocks.toml:4: [rule] limits there is no limit "persn"; did you mean "person"?'


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("50/s burst 100", "50/s burst 100"),
        ("300/m", "5/s burst 300"),
        ("7/m", "7/m burst 7"),
        ("3/h", "3/h burst 3"),
    ],
)
def test_rates_are_shown_as_they_are_written(written: str, shown: str) -> None:
    loaded = load_text(f'[limit.a]\nper = "all"\nnew = "{written}"\n')
    assert f'new = "{shown}"' in effective(loaded)
    assert load_text(effective(loaded)).config == loaded.config
