"""Each check of `forksocksctl doctor` on machines that are made of files; the verb on this one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forksocks import ctl, diagnosis
from forksocks.config.load import load_text
from forksocks.config.model import Config
from forksocks.diagnosis import ADVICE, OK, WRONG, Finding, Patient
from forksocks.host import clock, kernel, machine, nameservers
from forksocks.host.ceilings import Ceilings
from forksocks.host.machine import Feature
from forksocks.process import limits

TEXT = "[server]\nworkers = 4\nthreads = 1000\n"
LIMITS = "Max open files            1024                 {}               files\n"
FEATURES = tuple(Feature(name, True) for name in ("Landlock", "seccomp", "no_new_privs", "chroot"))


class Case:
    """A patient on a machine of files."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.set = monkeypatch.setattr
        self.text = TEXT
        self.set(clock, "is_kept", lambda: True)
        self.set(machine, "sandbox_layers", lambda: FEATURES)
        self.set(nameservers, "configured", lambda: ["192.0.2.1", "192.0.2.2"])
        self.set(nameservers, "answers", lambda _address, _patience: True)
        self.set(kernel, "HAS_SPLICE", True)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def sysctl(self, name: str, value: object) -> None:
        self.write(f"proc/sys/{name.replace('.', '/')}", f"{value}\n")

    def config(self) -> Config:
        return load_text(self.text, base=self.root).config

    def of(self, check: str) -> Finding:
        patient = Patient(load_text(self.text, base=self.root), None, Ceilings(root=self.root))
        (found,) = [each for each in diagnosis.findings(patient) if each.check == check]
        return found


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(tmp_path, monkeypatch)


def test_a_machine_without_limits_is_well(case: Case) -> None:
    patient = Patient(load_text(case.text, base=case.root), None, Ceilings(root=case.root))
    found = list(diagnosis.findings(patient))
    assert [each for each in found if each.state != OK or each.mend] == []
    assert {each.check for each in found} == {name for name, _ in diagnosis.CHECKS} - {"permissions"}


def test_descriptors(case: Case) -> None:
    needs = limits.descriptors(case.config())
    assert needs == 1000 * limits.DESCRIPTORS_A_SESSION + 1 + 256
    case.write("proc/self/limits", LIMITS.format(needs))
    assert case.of("descriptors").state == OK
    case.write("proc/self/limits", LIMITS.format(needs - 1))
    found = case.of("descriptors")
    assert found.state == WRONG
    assert str(needs - 1) in found.text
    assert f"LimitNOFILE={needs}" in found.mend


def test_tasks(case: Case) -> None:
    needs = limits.tasks(case.config())
    assert needs > 4 * 1000
    case.write("proc/self/cgroup", "0::/x\n")
    case.write("sys/fs/cgroup/x/pids.max", str(needs))
    assert case.of("tasks").state == OK
    case.write("sys/fs/cgroup/x/pids.max", str(needs - 1))
    found = case.of("tasks")
    assert found.state == WRONG
    assert str(case.root / "sys/fs/cgroup/x/pids.max") in found.text
    assert "TasksMax=infinity" in found.mend
    case.sysctl("kernel.threads-max", 99)
    assert case.of("tasks").mend.startswith(f"sysctl -w kernel.threads-max={2 * needs}")


@pytest.mark.parametrize(
    ("check", "name", "least", "state"),
    [
        ("maps", "vm.max_map_count", 1024 + 2 * 1000, WRONG),
        ("pipes", "fs.pipe-user-pages-soft", 2 * 4000 * 16, ADVICE),
        ("queue", "net.core.somaxconn", 4096, WRONG),
        ("conntrack", "net.netfilter.nf_conntrack_max", 8000, WRONG),
    ],
)
def test_what_is_one_sysctl(check: str, name: str, least: int, state: str, case: Case) -> None:
    case.sysctl(name, least)
    assert case.of(check).state == OK
    case.sysctl(name, least - 1)
    found = case.of(check)
    assert found.state == state
    assert str(least) in found.text
    assert found.mend.startswith(f"sysctl -w {name}={least}; ")


def test_pipes_that_are_not_used_or_not_limited(case: Case) -> None:
    case.sysctl("fs.pipe-user-pages-soft", 0)
    assert "no limit" in case.of("pipes").text
    case.sysctl("fs.pipe-user-pages-soft", 1)
    case.text += 'relay = "copy"\n'
    assert case.of("pipes").state == OK


def test_ports(case: Case) -> None:
    case.sysctl("net.ipv4.ip_local_port_range", "1001\t5000")
    assert case.of("ports").state == OK
    case.sysctl("net.ipv4.ip_local_port_range", "1001\t4999")
    found = case.of("ports")
    assert found.state == ADVICE
    assert "3999 ports" in found.text
    assert "ip_local_port_range='1024 65535'" in found.mend


@pytest.mark.parametrize(
    ("silent", "state"),
    [({"192.0.2.2"}, ADVICE), ({"192.0.2.1"}, WRONG), ({"192.0.2.1", "192.0.2.2"}, WRONG)],
)
def test_name_servers_that_say_nothing(silent: set[str], state: str, case: Case) -> None:
    case.set(nameservers, "answers", lambda address, _patience: address not in silent)
    found = case.of("dns")
    assert found.state == state
    assert ("no name can be looked up" in found.text) == (len(silent) == 2)


def test_a_clock_that_nobody_keeps(case: Case) -> None:
    case.set(clock, "is_kept", lambda: False)
    assert case.of("clock").state == ADVICE
    case.text += '[[rule]]\nname = "day"\naction = "allow"\ntimes = ["mon-fri 08:00-18:00"]\n'
    found = case.of("clock")
    assert found.state == WRONG
    assert "times of rules" in found.text


def test_layers_that_are_missing(case: Case) -> None:
    features = (Feature("Landlock", False), Feature("chroot", False, "needs root"))
    case.set(machine, "sandbox_layers", lambda: features)
    assert case.of("sandbox").state == ADVICE
    case.text += 'sandbox = "require"\n'
    found = case.of("sandbox")
    assert found.state == WRONG
    assert "lsm=" in found.mend
    case.text = TEXT + 'sandbox = "off"\n'
    assert case.of("sandbox").state == ADVICE


def test_what_check_finds_is_wrong(case: Case) -> None:
    case.text += 'pidfile = "nowhere/pid"\n'
    found = case.of("configuration")
    assert found.state == WRONG
    assert "there is no directory" in found.text


def test_files_that_others_may_change(case: Case) -> None:
    case.write("keytab", "")
    (case.root / "keytab").chmod(0o640)
    case.text += (
        '[[listen]]\nname = "x"\nbind = ["127.0.0.1:0"]\nauth = ["gssapi"]\n[gssapi]\nkeytab = "keytab"\n'
    )
    assert case.of("permissions").state == OK
    (case.root / "keytab").chmod(0o644)
    patient = Patient(load_text(case.text, base=case.root), None, Ceilings(root=case.root))
    wrong = [each for each in diagnosis.findings(patient) if each.check == "permissions"]
    assert [each.state for each in wrong] == [WRONG, OK]
    assert wrong[0].mend == f"chmod 0640 {case.root}/keytab"


def test_the_clock_of_this_machine_can_be_asked() -> None:
    assert clock.is_kept() in (True, False, None)


@pytest.fixture
def file(case: Case) -> Path:
    path = case.root / "forksocks.toml"
    path.write_text(f'{TEXT}[admin]\nsocket = "{case.root}/admin.sock"\n')
    path.chmod(0o644)
    return path


def test_the_verb_says_it_in_lines_and_in_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ctl.main(["doctor", "-c", str(file), "--json"])
    found: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[0]["check"] == "capacity"
    assert found[0]["text"].startswith("4 workers x 1000 threads = 4000 connections; no server answers")
    assert all(set(each) == {"check", "state", "text", "mend"} for each in found)
    assert told == int(WRONG in [each["state"] for each in found])
    assert ctl.main(["doctor", "-c", str(file)]) == told
    assert "\nok      configuration" in capsys.readouterr().out


def test_the_verb_ends_with_1_where_something_is_wrong(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.chmod(0o666)
    assert ctl.main(["doctor", "-c", str(file)]) == 1
    out = capsys.readouterr().out
    assert "wrong   permissions" in out
    assert f"mend: chmod 0644 {file}" in out
    file.write_text("[server]\nthreds = 1\n")
    assert ctl.main(["doctor", "-c", str(file)]) == 2
    assert "threds" in capsys.readouterr().err


def test_a_start_says_which_limits_are_too_low(case: Case) -> None:
    here = Ceilings(root=case.root)
    assert limits.impossible(case.config(), here) is None
    case.write("proc/self/limits", LIMITS.format(100))
    case.sysctl("kernel.threads-max", 99)
    told = limits.impossible(case.config(), here)
    assert told
    assert told.startswith("100 descriptors of 3257, 99 tasks of ")
