"""`forksocksctl explain` as a person uses it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from forksocks import ctl
from forksocks.access.hashes import Parameters, hashed
from forksocks.verbs import explain as verb

Explain = Callable[..., tuple[int, str, str]]

CONFIG = """
[access]
allow_from = ["10.0.0.0/8"]
allow_to = ["@loopback"]
[[rule]]
name = "no-smtp"
ports = [25]
action = "deny"
[[rule]]
name = "local"
to = ["localhost", "93.184.0.0/16"]
action = "allow"
"""


@pytest.fixture
def explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Explain:
    path = tmp_path / "forksocks.toml"
    path.write_text(CONFIG)

    def run(*words: str, text: str = CONFIG) -> tuple[int, str, str]:
        path.write_text(text)
        status = ctl.main(["explain", "-c", str(path), *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_a_name_is_followed_to_its_addresses(explain: Explain) -> None:
    status, out, err = explain("--from", "10.1.2.3", "--to", "localhost:8080")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "anyone from 10.1.2.3 to localhost:8080 (connect)"
    assert "  rule     no-smtp    no: ports\n  rule     local      allow\n" in out
    assert "  address  127.0.0.1  allow local\n" in out
    assert out.splitlines()[-1] == "decision: allow local"


@pytest.mark.parametrize(
    ("words", "decision"),
    [
        (("--from", "10.1.2.3", "--to", "93.184.216.34:25"), "deny no-smtp"),
        (("--from", "10.1.2.3", "--to", "localhost:25"), "deny no-smtp"),
        (("--from", "10.1.2.3", "--to", "93.184.216.34:80"), "allow local"),
        (("--from", "10.1.2.3", "--to", "93.184.216.34:80", "--udp"), "allow local"),
        (("--from", "10.1.2.3", "--to", "[2a00::1]:80"), "deny"),
        (("--from", "192.0.2.1", "--to", "93.184.216.34:80"), "deny @clients"),
        (("--to", "93.184.216.34:80"), "allow local"),
        (("--from", "10.1.2.3", "--to", "no-such-name.invalid:80"), "deny"),
    ],
)
def test_the_decision_is_the_exit_status(explain: Explain, words: tuple[str, ...], decision: str) -> None:
    status, out, _ = explain(*words, "--json")
    shown = json.loads(out)
    assert " ".join(filter(None, (shown["decision"], shown["why"]))).startswith(decision)
    assert status == (0 if decision.startswith("allow") else 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "localhost"), 'must be a destination as "example.com:443"'),
        (("--to", "a:1", "--from", "x"), "must be an address"),
        (("--to", "a:1", "--listen", "lan"), "there is no listener lan"),
    ],
)
def test_what_cannot_be_asked_is_said(explain: Explain, words: tuple[str, ...], said: str) -> None:
    status, out, err = explain(*words)
    assert (status, out) == (2, "")
    assert said in err


def test_a_wrong_configuration_is_told(explain: Explain) -> None:
    status, _, err = explain("--to", "a:1", text="[server]\nworkers = 0\n")
    assert status == 2
    assert "forksocks.toml:2: [server] workers" in err
    status, _, err = explain("--to", "a:1", text=CONFIG + 'clients = ["file:gone"]\n')
    assert status == 2
    assert "gone cannot be read" in err


def test_without_a_file_the_defaults_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verb, "DEFAULT_FILE", tmp_path / "none.toml")
    assert ctl.main(["explain", "--from", "127.0.0.1", "--to", "10.9.9.9:80"]) == 1
    out, err = capfd.readouterr()
    assert out.endswith("decision: deny @private\n")
    assert (
        err
        == f"forksocksctl: {tmp_path}/none.toml is not there: by the defaults; -c FILE asks about another\n"
    )
    (tmp_path / "none.toml").write_text('[access]\nallow_to = ["@private"]\n')
    assert ctl.main(["explain", "--from", "127.0.0.1", "--to", "10.9.9.9:80"]) == 0
    assert capfd.readouterr().err == ""


def test_groups_are_those_of_the_users_file_or_as_said(explain: Explain, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_bytes(b"alice:" + hashed(b"x", Parameters(memory=8, passes=1, lanes=1)) + b":staff\n")
    users.chmod(0o600)
    text = f'[auth]\nusers = "{users}"\n[[rule]]\nname = "staff"\ngroups = ["staff"]\naction = "allow"\n'
    asked = ("--from", "10.1.2.3", "--to", "93.184.216.34:80", "--user")
    assert explain(*asked, "alice", text=text)[0] == 0
    status, out, _ = explain(*asked, "bob", text=text)
    assert status == 1
    assert "rule     staff          no: groups\n" in out
    status, out, _ = explain(*asked, "bob", "--groups", "staff,x", text=text)
    assert status == 0
    assert out.startswith("bob (staff, x) from 10.1.2.3")
    users.unlink()
    status, _, err = explain(*asked, "alice", text=text)
    assert status == 2
    assert "or say with --groups which ones the user is in" in err
    assert explain(*asked, "alice", "--groups", "-", text=text)[2].startswith(
        "forksocksctl: --groups: write at"
    )


def test_what_a_rule_says_beside_is_told(explain: Explain) -> None:
    text = (
        CONFIG
        + 'egress = ["127.0.0.7"]\ninterface = "wg0"\nidle = "10m"\nlog = "debug"\n'
        + '[egress]\naddresses = ["127.0.0.5", "::1"]\n'
    )
    _, out, _ = explain(
        "--from", "10.1.2.3", "--to", "127.0.0.1:80", text=text.replace('["localhost"', '["@any"')
    )
    assert "  egress   127.0.0.7  own address of outgoing connections\n" in out
    assert "  egress   wg0        interface of outgoing connections\n" in out
    assert (
        "  idle     600s       silence that ends the tunnel\n  log      debug      level of its lines\n"
        in out
    )
    _, out, _ = explain(
        "--from", "10.1.2.3", "--to", "[2606::1]:80", text=text.replace('["localhost"', '["@any"')
    )
    assert "  egress   ::1" in out
