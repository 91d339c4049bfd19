from __future__ import annotations

import dataclasses
import os
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from forksocks.config import schema, source
from forksocks.config.load import ConfigError, Flag, Loaded, load, load_text
from forksocks.config.model import (
    Accept,
    AuthMethod,
    BindConfig,
    CommandName,
    Dialect,
    Families,
    Fragments,
    GssapiConfig,
    HelperConfig,
    Level,
    Lock,
    LockoutConfig,
    LogFormat,
    Ports,
    Protection,
    Rate,
    RelayKind,
    SandboxMode,
    Timeouts,
    UdpConfig,
)
from forksocks.config.problems import DEFAULT
from forksocks.config.values import readable

FULL = """\
[server]
workers = 3
threads = 99
user = "nobody"
drain = "0s"
start_limit = "90s"
hang = "1m"
memory_limit = "96MiB"
daemon = true
pidfile = "run/pid"
relay = "copy"
sandbox = "require"

[[listen]]
name = "lan"
bind = ["[::1]:1080", "unix:sock"]
auth = ["password", "none"]
protocols = ["socks4"]
commands = ["bind", "udp"]
backlog = 7
timeouts = { idle = "2d", connect = "1s" }
bind_command = { ports = "50000-50009", advertise = "192.0.2.9", any_peer = true }

[listen.udp]
ports = "40000-40000"
advertise = "2001:db8::9"
bind = "192.0.2.8"
lock = "address"
accept = "any"
fragments = "drop"
rate = "5000/s burst 10000"

[[listen]]
name = "out"
bind = [":2080"]

[access]
allow_from = ["192.0.2.0/24", "@loopback"]
without_password = ["@loopback"]
allow_to = ["@private"]
own = ["203.0.113.7", "2001:db8:5::/64"]

[auth]
lockout = { failures = 3, window = "1m", ban = "2m", max_ban = "1h", file = "bans" }
users = "/etc/users"

[helper]
command = []
processes = 2
concurrency = 8
timeout = "3s"
remember = "0s"
user = "nobody"

[gssapi]
keytab = "krb5.keytab"
protection = ["none"]
realms = ["EXAMPLE.ORG"]

[dns]
families = 4

[egress]
addresses = ["192.0.2.7", "2001:db8::7"]

[timeouts]
connect = "3s"
half_closed = "4s"

[log]
to = "file:log"
format = "json"
level = "trace"

[admin]
socket = "admin.sock"
group = "adm"
http = "192.0.2.7:9180"
http_open = true
"""


PORTS = 'a range of ports from 1024 to 65535 as "40000-40999"'


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, base=Path("/base"))
    return str(caught.value).splitlines()


def flags(**given: str | bool | list[str]) -> dict[str, Flag]:
    return {key.replace("__", "."): Flag(f"--{key}", value) for key, value in given.items()}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_key(tmp_path: Path) -> None:
    config = load(write(tmp_path / "f.toml", FULL), {}).config
    server = config.server
    assert (server.workers, server.threads, server.user, server.drain) == (3, 99, "nobody", 0.0)
    assert (server.hang, server.start_limit, server.memory_limit) == (60.0, 90.0, 96 << 20)
    assert config.auth.lockout == LockoutConfig(3, 60.0, 120.0, 3600.0, tmp_path / "bans")
    assert (server.daemon, server.pidfile, server.relay) == (True, tmp_path / "run/pid", RelayKind.COPY)
    assert server.sandbox is SandboxMode.REQUIRE
    lan, out = config.listen
    assert (lan.name, lan.backlog, lan.auth) == ("lan", 7, (AuthMethod.PASSWORD, AuthMethod.NONE))
    assert [str(each) for each in lan.bind] == ["[::1]:1080", f"unix:{tmp_path}/sock"]
    assert lan.timeouts == Timeouts(idle=172800.0, connect=1.0, half_closed=4.0)
    assert (lan.protocols, lan.commands) == ((Dialect.SOCKS4,), (CommandName.BIND, CommandName.UDP))
    assert lan.udp == UdpConfig(
        Ports(40000, 40000), ip_address("2001:db8::9"), ip_address("192.0.2.8"),
        Lock.ADDRESS, Accept.ANY, Fragments.DROP, Rate(5000.0, 10000),
    )  # fmt: skip
    assert lan.bind_command == BindConfig(Ports(50000, 50009), ip_address("192.0.2.9"), any_peer=True)
    assert (out.udp, out.bind_command) == (UdpConfig(), BindConfig())
    assert [str(each) for each in out.bind] == ["0.0.0.0:2080", "[::]:2080"]
    assert (out.auth, out.timeouts) == ((AuthMethod.PASSWORD,), Timeouts(connect=3.0, half_closed=4.0))
    assert config.access.allow_from == (ip_network("192.0.2.0/24"), "@loopback")
    assert config.access.without_password == ("@loopback",)
    assert config.access.allow_to == ("@private",)
    assert config.access.own == (ip_network("203.0.113.7"), ip_network("2001:db8:5::/64"))
    assert config.auth.users == Path("/etc/users")
    assert config.gssapi == GssapiConfig(tmp_path / "krb5.keytab", (Protection.NONE,), ("EXAMPLE.ORG",))
    assert config.helper == HelperConfig((), 2, 8, 3.0, 0.0, "nobody")
    assert config.dns.families is Families.IPV4
    assert config.egress.addresses == (ip_address("192.0.2.7"), ip_address("2001:db8::7"))
    assert (config.log.to, config.log.format) == (f"file:{tmp_path}/log", LogFormat.JSON)
    assert config.log.level is Level.TRACE
    assert (config.admin.socket, config.admin.group) == (tmp_path / "admin.sock", "adm")


def test_the_example_above_sets_every_key() -> None:
    given = load_text(FULL).origins
    assert {key.rpartition(".")[2] for key, origin in given.items() if origin == DEFAULT} <= {
        *("open_proxy", "handshake", "resolve", "idle", "udp_idle"),
        *("auth", "backlog", "protocols", "commands"),  # of the second listener
        *("ports", "advertise", "bind", "any_peer", "lock", "accept", "fragments", "rate"),
    }


def test_nothing_at_all() -> None:
    loaded = load(None, {})
    (listen,) = loaded.config.listen
    assert (listen.name, [str(each) for each in listen.bind]) == ("default", ["127.0.0.1:1080"])
    assert listen.auth == (AuthMethod.NONE,)
    assert loaded.config.access.allow_from is None
    assert loaded.config.log.level is Level.NOTICE
    assert loaded.config.server.workers >= 2
    assert set(loaded.origins.values()) == {DEFAULT}


def test_the_default_file_is_the_defaults() -> None:
    path = Path(__file__).parents[2] / "etc" / "forksocks.toml"
    assert load(path, {}).config == load(None, {}).config


def test_the_default_file_shows_every_key() -> None:
    text = (Path(__file__).parents[2] / "etc" / "forksocks.toml").read_text()
    for name, section in schema.sections().items():
        block = text.split(f"[[{name}]]\n" if name == "listen" else f"\n[{name}]\n")[1].split("\n[")[0]
        shown = {line.removeprefix("# ").partition(" =")[0] for line in block.splitlines() if " = " in line}
        assert {*schema.keys(section), *schema.tables(section)} <= shown


def test_the_rules_that_the_default_file_shows_are_right() -> None:
    text = (Path(__file__).parents[2] / "etc" / "forksocks.toml").read_text()
    shown = "\n".join(line.removeprefix("#   ") for line in text.splitlines() if line.startswith("#   "))
    config = load_text(shown[shown.index("[sets]") :]).config
    assert [rule.name for rule in config.rule] == ["no-mail", "office"]
    assert (len(config.sets), len(config.limit), len(config.test)) == (1, 1, 1)


def test_the_commented_lines_of_the_default_file_are_right(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "etc" / "forksocks.toml").read_text()
    settings = [line for line in text.splitlines() if line.startswith("# ") and " = " in line]
    opened = [line for line in settings if line.split(" ")[2] == "="]
    assert len(opened) == 17
    for line in opened:
        text = text.replace(f"\n{line}\n", f"\n{line.removeprefix('# ')}\n")
    assert load(write(tmp_path / "f.toml", text), {}).config.auth.users == Path("/etc/forksocks/users")


def test_flags_override_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "f.toml", FULL)
    elsewhere = tmp_path / "cwd"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    given = flags(
        server__workers="7", access__allow_from="@any, 10.0.0.0/8,", auth__users="u", log__level="info"
    )
    loaded = load(path, given)
    assert loaded.config.server.workers == 7
    assert loaded.config.access.allow_from == ("@any", ip_network("10.0.0.0/8"))
    assert loaded.config.auth.users == elsewhere / "u"
    assert loaded.config.log.level is Level.INFO
    assert loaded.config.server.pidfile == tmp_path / "run/pid"
    assert str(loaded.origins["server.workers"]) == "--server__workers"
    assert str(loaded.origins["server.threads"]) == f"{path}:3"
    assert str(loaded.origins["server.drain"]) == f"{path}:5"
    assert str(loaded.origins["listen.0.timeouts.idle"]) == f"{path}:21"
    line = next(n for n, text in enumerate(FULL.splitlines(), 1) if text.startswith("half_closed"))
    assert str(loaded.origins["listen.0.timeouts.half_closed"]) == f"{path}:{line}"
    assert str(loaded.origins["listen.1.timeouts.handshake"]) == "default"


def addresses(*given: str) -> dict[str, Flag]:
    return {"listen.bind": Flag("command line", list(given))}


def binds(loaded: Loaded) -> list[tuple[str, list[str]]]:
    return [(listen.name, [str(each) for each in listen.bind]) for listen in loaded.config.listen]


def test_addresses_alone_are_one_listener() -> None:
    loaded = load(None, addresses("192.0.2.1:1", ":2"))
    assert binds(loaded) == [("default", ["192.0.2.1:1", "0.0.0.0:2", "[::]:2"])]
    assert str(loaded.origins["listen.0.bind"]) == "command line"


def test_addresses_take_the_place_of_a_lone_listeners(tmp_path: Path) -> None:
    text = '[[listen]]\nname = "lan"\nbind = ["10.0.0.1:1"]\nbacklog = 9\n'
    loaded = load(write(tmp_path / "f.toml", text), addresses("192.0.2.1:1"))
    assert binds(loaded) == [("lan", ["192.0.2.1:1"])]
    assert loaded.config.listen[0].backlog == 9


def test_a_lone_listener_needs_no_bind_when_addresses_are_given(tmp_path: Path) -> None:
    path = write(tmp_path / "f.toml", "[[listen]]\nbacklog = 9\n")
    assert binds(load(path, addresses("192.0.2.1:1"))) == [("default", ["192.0.2.1:1"])]
    with pytest.raises(ConfigError, match=r"f.toml:1: \[listen\] bind needs an address"):
        load(path, {})


def test_addresses_replace_several_listeners_by_one(tmp_path: Path) -> None:
    loaded = load(write(tmp_path / "f.toml", FULL), addresses("192.0.2.1:1"))
    assert binds(loaded) == [("default", ["192.0.2.1:1"])]
    assert loaded.config.listen[0].backlog == 4096
    assert loaded.config.listen[0].timeouts == Timeouts(connect=3.0, half_closed=4.0)
    assert str(loaded.origins["listen.0.backlog"]) == "default"


def test_wrong_addresses_are_all_told() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, addresses("1080", "192.0.2.1:1", "localhost:1"))
    assert [str(each) for each in caught.value.problems] == [
        'command line: "1080" is no address to listen on: write ":1080" for every address',
        'command line: "localhost:1" is no address to listen on: names are not looked up here; '
        'write as in "127.0.0.1:1080"',
    ]


def test_users_make_listeners_ask_for_passwords() -> None:
    assert load(None, flags(auth__users="/u")).config.listen[0].auth == (AuthMethod.PASSWORD,)


def test_a_daemon_logs_to_syslog() -> None:
    loaded = load(None, flags(server__daemon=True))
    assert loaded.config.log.to == "syslog"
    assert str(loaded.origins["log.to"]) == "default with daemon"


def test_all_problems_at_once_in_the_order_of_the_file() -> None:
    text = """\
wokers = 3
[server]
workers = "many"
trheads = 5
open_proxy = true
[[listen]]
bind = [
  "0.0.0.0:1080",
  "foo:1", "10.0.0.1",
]
timeouts = { handshake = 10, idel = "1h" }
[listn]
"""
    number = '"auto" (twice the cores) or a whole number from 1 to 1024'
    time = 'a time as "250ms", "10s", "5m", "1h" or "2d"'
    wrong = "is no address to listen on"
    assert problems(text) == [
        'forksocks.toml:1: unknown key "wokers"; did you mean "workers" in [server]?',
        f'forksocks.toml:3: [server] workers must be {number}, not "many"',
        'forksocks.toml:4: [server] unknown key "trheads"; did you mean "threads"?',
        'forksocks.toml:5: [server] unknown key "open_proxy"; it belongs in [access]',
        f'forksocks.toml:9: [listen] bind "foo:1" {wrong}: names are not looked up here; '
        'write as in "127.0.0.1:1080"',
        f'forksocks.toml:9: [listen] bind "10.0.0.1" {wrong}: '
        'the port is missing, as in "127.0.0.1:1080" or ":1080"',
        'forksocks.toml:11: [listen] timeouts unknown key "idel"; did you mean "idle"?',
        f"forksocks.toml:11: [listen] timeouts handshake must be {time}, not 10",
        'forksocks.toml:12: unknown section "listn"; did you mean "listen"?',
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[timeout]\n",
            'unknown section "timeout"; did you mean "timeouts"?',
        ),  # [helper] has a key of that name
        ("[handshake]\n", 'unknown section "handshake"; it belongs in [timeouts]'),
        ("timeout = 5\n", 'unknown key "timeout"; it belongs in [helper]'),
        ("[dns]\nfamilies = 5\n", '[dns] families must be "happy-eyeballs", 4 or 6, not 5'),
        ('[server]\nrelay = "splcie"\n', ', not "splcie"; did you mean "splice"?'),
        ('[[rule]]\nname = "r"\naction = "denny"\n', ', not "denny"; did you mean "deny"?'),
        ("[listen]\n", "must be written [[listen]]"),
        ('[[listen]]\nbind = [":1"]\nauth = ["pasword"]\n', ', not "pasword"; did you mean "password"?'),
        ('[[listen]]\nbind = [":1"]\ncommands = ["conect"]\n', ', not "conect"; did you mean "connect"?'),
        ('[log]\nlevel = "inof"\n', ', not "inof"; did you mean "info"?'),
        ('[access]\nallow_to = ["@privat"]\n', ', not "@privat"; did you mean "@private"?'),
        ('[access]\nallow_to = ["foo"]\n', "or one of @any @attached @link-local @loopback @metadata"),
    ],
)
def test_what_was_meant(text: str, told: str) -> None:
    (said,) = problems(text)
    assert told in said


def test_the_name_of_a_file_cannot_move_the_cursor(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m\n.toml").write_text("a = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(Path("a\x1b[31m\n.toml"), {}, tmp_path)
    assert str(caught.value).startswith('"a\\u001B[31m\\u000A.toml":1: unknown key "a"')
    with pytest.raises(ConfigError) as caught:
        load(Path("a\udcff.toml"), {}, tmp_path)
    assert str(caught.value).startswith('"a\\xff.toml": cannot be read')


ONE = '[[listen]]\nname = "a"\nbind = ["127.0.0.1:1"]\n'
RULE = '[[rule]]\nname = "r"\n'
TWO = ONE + '[[listen]]\nname = "b"\nbind = ["127.0.0.1:2"]\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("server = 1", "1: [server] must be a table, not 1"),
        ("listen = 1", "1: [listen] must be a table, written [[listen]], not 1"),
        ("listen = [1]", "1: [listen] must be a table, not 1"),
        ('[listen]\nname = "a"', "1: [listen] must be written [[listen]]: there may be several"),
        (ONE + "timeouts = 1", "4: [listen] timeouts must be a table, not 1"),
        (ONE + "backlog = 0", "4: [listen] backlog must be a whole number from 1 to 65535, not 0"),
        (
            ONE + 'auth = ["kerberos"]',
            '4: [listen] auth must be "none", "password" or "gssapi", not "kerberos"',
        ),
        (ONE + "auth = []", '4: [listen] auth must not be empty: "none" admits clients without a password'),
        (ONE + 'auth = ["none", "none"]', '4: [listen] auth has "none" 2 times'),
        (
            ONE + 'auth = ["password"]',
            '4: [listen] auth "password" needs users: set users in [auth], or --users FILE, '
            "or command in [helper]",
        ),
        (
            '[access]\nopen_proxy = true\nwithout_password = ["@loopback"]',
            "3: [access] without_password says who needs no password, open_proxy says nobody does: "
            "leave out one of them",
        ),
        (
            ONE + 'auth = ["gssapi"]',
            '4: [listen] auth "gssapi" needs the server\'s keys: set keytab in [gssapi]',
        ),
        ("[gssapi]\nprotection = []", "2: [gssapi] protection must not be empty"),
        (
            ONE + 'auth = ["none"]\n[helper]\ncommand = ["/bin/x"]',
            '6: [helper] command is never asked: no listener has "password" in its auth',
        ),
        (
            '[auth]\nusers = "u"\n[helper]\ncommand = ["/bin/x"]',
            "4: [helper] command checks passwords, and so would users in [auth]: leave out one of them",
        ),
        (
            '[helper]\ncommand = ["x", "-b"]',
            "2: [helper] command must be a program and its arguments, "
            'as ["/usr/lib/squid/basic_ldap_auth", "-b", ...], not "x"',
        ),
        (
            '[helper]\ncommand = ["/x"]\nconcurrency = 33',
            "3: [helper] concurrency must be a whole number from 0 to 32, not 33",
        ),
        (
            ONE + 'auth = ["none"]\n[auth]\nusers = "u"',
            '6: [auth] users are never asked: no listener has "password" in its auth',
        ),
        (ONE + "protocols = []", "4: [listen] protocols must not be empty"),
        (
            ONE + 'protocols = ["socks6"]',
            '4: [listen] protocols must be "socks5" or "socks4", not "socks6"; did you mean "socks5"?',
        ),
        (ONE + 'commands = ["udp", "udp"]', '4: [listen] commands has "udp" 2 times'),
        (ONE + "udp = { ports = '80-90' }", f'4: [listen] udp ports must be {PORTS}, not "80-90"'),
        (ONE + "udp = { ports = '2000-1999' }", f'4: [listen] udp ports must be {PORTS}, not "2000-1999"'),
        (
            ONE + "udp = { rate = 5000 }",
            '4: [listen] udp rate must be a rate as "50/s", "300/m" or "50/s burst 100", not 5000',
        ),
        (ONE + "udp = { ports = 5000 }", f"4: [listen] udp ports must be {PORTS}, not 5000"),
        (ONE + "udp = { idle = '1s' }", '4: [listen] udp unknown key "idle"; it belongs in [timeouts]'),
        ("[[listen]]\nbind = []", '1: [listen] bind needs an address, as bind = ["127.0.0.1:1080"]'),
        (
            "[[listen]]\nname = ''\nbind = [':1']",
            '2: [listen] name must be a name of 1 to 32 letters, digits, . _ -, not ""',
        ),
        (ONE + '[[listen]]\nbind = [":2"]', "4: [listen] needs a name: there are several"),
        (TWO.replace('"b"', '"a"'), '5: [listen] name "a" is taken by another listener'),
        (TWO.replace("1:2", "1:1"), "6: [listen] bind 127.0.0.1:1 is already in listener a"),
        ('[[listen]]\nbind = [":1", "0.0.0.0:1"]', "2: [listen] bind 0.0.0.0:1 is there twice"),
        ('[[listen]]\nbind = [":1"]\nport = 1', '3: [listen] unknown key "port"'),
        (ONE + "[server]\nthreads = 1", "5: [server] threads must be a whole number from 2 to 65536, not 1"),
        (
            TWO + "[server]\nthreads = 3",
            "8: [server] threads must be at least 4, twice the listening addresses, not 3",
        ),
        ("[server]\nthreads = 2.0", "2: [server] threads must be a whole number from 2 to 65536, not 2.0"),
        ("[server]\nthreads = true", "2: [server] threads must be a whole number from 2 to 65536, not true"),
        ("[server]\ndaemon = 1", "2: [server] daemon must be true or false, not 1"),
        ("[server]\npidfile = ''", '2: [server] pidfile must be a path, not ""'),
        (
            "[server]\nuser = 'a b'",
            '2: [server] user must be the name of an account of this machine, not "a b"',
        ),
        (
            "[server]\ndaemon = true\n[log]\nto = 'stderr'",
            '4: [log] to a daemon has no stderr: use "syslog" or "file:/path"',
        ),
        ("[access]\nallow_from = []", "2: [access] allow_from must not be empty: nobody could connect"),
        (
            "[access]\nallow_from = ['10.0.0.0/8']\nopen_proxy = true",
            "3: [access] open_proxy admits anyone, allow_from does not: leave out one of them",
        ),
        (
            "[access]\nopen_proxy = true\n[auth]\nusers = 'u'",
            "2: [access] open_proxy has no effect: every listener asks for a password",
        ),
        (
            "[egress]\naddresses = ['10.0.0.1', '::1', '10.0.0.2']",
            "2: [egress] addresses has 2 IPv4 addresses: one of each family is possible",
        ),
        (
            RULE + "action = 'allow'\negress = ['10.0.0.1', '::1', '10.0.0.2']",
            "4: [rule] egress has 2 IPv4 addresses: one of each family is possible",
        ),
        (RULE + "action = 'deny'\nidle = '1s'", '4: [rule] idle has no effect: "r" allows nothing'),
        (RULE + "action = 'deny'\ninterface = 'lo'", '4: [rule] interface has no effect: "r" allows nothing'),
        *(
            (
                RULE + f"action = 'allow'\ninterface = '{name}'",
                f'4: [rule] interface must be the name of a network interface as "wg0", not "{name}"',
            )
            for name in ("", "..", "a/b", "a:1", "a b", "sixteen-letters-")
        ),
        (RULE + "action = 'drop'\negress = ['::1']", '4: [rule] egress has no effect: "r" allows nothing'),
        (
            RULE + "action = 'deny'\nlog = 'all'",
            '4: [rule] log must be "error", "notice", "info", "debug" or "trace", not "all"',
        ),
        (
            "[server]\npidfile = '/x'\n[log]\nto = 'file:/x'",
            "4: [log] to /x is already something else here",
        ),
        (
            "[server]\npidfile = '/\u202e'\n[log]\nto = 'file:/\u202e'",
            '4: [log] to "/\\u202E" is already something else here',
        ),
        ("[timeouts]\nidle = '0s'", '2: [timeouts] idle must be a time from 1ms to 24d, not "0s"'),
        ("[metrics]", '1: unknown section "metrics"'),
        ("[server", "1: is not TOML: Expected ']' at the end of a table declaration (at end of document)"),
        ("a = 1 b\n", "1: is not TOML: Expected newline or end of document after a statement (column 7)"),
        (
            "a = 1\na = 2\n",
            "2: is not TOML: Cannot overwrite a value: the same key stands there twice (column 6)",
        ),
        ("a = b\n", "1: is not TOML: Invalid value: texts stand in quotes (column 5)"),
        ("// no\n", "1: is not TOML: Invalid statement: comments begin with # (column 1)"),
        ('x = """\n\n', "3: is not TOML: Unterminated string (at end of document)"),
    ],
)
def test_problems(text: str, problem: str) -> None:
    assert problems(text) == [f"forksocks.toml:{problem}"]


@pytest.mark.parametrize(
    "text", [TWO.replace("1:1", "1:0").replace("1:2", "1:0"), TWO + "[server]\nthreads = 4"]
)
def test_what_is_just_possible(text: str) -> None:
    assert len(load_text(text).config.listen) == 2


def test_a_wrong_flag_is_named() -> None:
    given = flags(server__workers="many", access__allow_to="@privat,10.0.0.0/8,x", server__drain="5")
    with pytest.raises(ConfigError) as caught:
        load(None, given)
    wheres = [
        (str(each.where), each.text.split(" not ")[-1].partition(";")[0]) for each in caught.value.problems
    ]
    assert wheres == [
        ("--server__workers", '"many"'),
        ("--server__drain", '"5"'),
        ("--access__allow_to", '"@privat"'),
        ("--access__allow_to", '"x"'),
    ]


@pytest.mark.parametrize("number", ["1_0", "٣", "9" * 5000, "-1", "1.0", " 3"])
def test_odd_numbers_of_flags_are_refused(number: str) -> None:
    with pytest.raises(ConfigError, match='--server__workers: must be "auto"'):
        load(None, flags(server__workers=number))


def test_a_conflict_of_flags_names_the_flag() -> None:
    with pytest.raises(ConfigError, match="--access__open_proxy: has no effect"):
        load(None, flags(access__open_proxy=True, auth__users="u"))


def test_a_path_that_is_no_utf_8_is_refused() -> None:
    with pytest.raises(ConfigError, match="--server__pidfile: must be a path in UTF-8"):
        load(None, flags(server__pidfile="a\udcff"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = 1\nb = '\xff'\n", ":2: is not UTF-8: byte 0xff"),
        (b"\xff\xfea\x00", ":1: is not UTF-8: byte 0xff"),
        (b"\x00\x01", ":1: is not TOML: "),
        (b"a = " + b"[" * 5000, ": is nested too deeply"),
        (b"b = 1\n\na = " + b"9" * 5000, ":3: has a number that is too long"),
        (b"a = " + b"9" * 5000, ":1: has a number that is too long"),
    ],
)
def test_junk(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "f.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert str(caught.value).startswith(f"{path}{problem}")


def test_a_byte_order_mark_and_windows_line_ends_are_harmless(tmp_path: Path) -> None:
    path = tmp_path / "f.toml"
    path.write_bytes(b"\xef\xbb\xbf[server]\r\n\r\nworkers = 3\r\n")
    assert str(load(path, {}).origins["server.workers"]) == f"{path}:3"


@pytest.mark.parametrize(
    ("name", "problem"),
    [("missing", "No such file or directory"), (".", "Is a directory"), ("a\0b", "embedded null byte")],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, problem: str) -> None:
    path = tmp_path / name
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert str(caught.value) == f"{readable(str(path))}: cannot be read: {problem}"


def test_an_endless_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MOST_BYTES", 1 << 20)
    with pytest.raises(ConfigError, match="/dev/zero: is longer than 1 MiB"):
        load(Path("/dev/zero"), {})


def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="current directory: No such file or directory"):
        load(None, {})
    os.chdir(tmp_path)


def test_a_loaded_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(None, {}).config.server.workers = 3  # type: ignore[misc]
