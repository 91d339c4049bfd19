from __future__ import annotations

import ctypes
import dataclasses
import os
import pwd
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from forksocks.host import linux
from forksocks.host.sandbox import privileges
from forksocks.host.sandbox.privileges import Identity
from tests.host.sandbox.apart import apart, errno_of

NOBODY = Identity("nobody", pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)


def status(*fields: str) -> dict[str, str]:
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {field: found[field].strip() for field in fields}


def given_up() -> dict[str, object]:
    if os.geteuid() == 0:
        privileges.become(NOBODY)
    privileges.give_up_capabilities()
    memory = errno_of(lambda: os.close(os.open("/proc/self/mem", os.O_RDONLY)))
    privileges.hide_memory()
    privileges.refuse_new_privileges()
    return {
        **status("CapEff", "CapPrm", "CapInh", "CapAmb", "NoNewPrivs", "Uid"),
        "back": errno_of(lambda: os.setuid(0)),
        "memory": [memory, errno_of(lambda: os.open("/proc/self/mem", os.O_RDONLY))],
    }


def test_nothing_is_left_and_nothing_comes_back() -> None:
    found = apart(given_up)
    assert {found[name] for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {"0" * 16}
    assert found["NoNewPrivs"] == "1"
    assert set(found["Uid"].split()) == {str(NOBODY.uid if os.geteuid() == 0 else os.geteuid())}
    assert (found["back"], found["memory"][1]) == (1, 13)


def trimmed() -> dict[str, object]:
    before = linux.permitted_capabilities()
    privileges.trim_supervisor()
    return {
        "kept": linux.permitted_capabilities()
        == before & sum(1 << n for n in privileges.SUPERVISOR_KEEPS.values()),
        "dumpable": linux.prctl(3, 0),  # PR_GET_DUMPABLE
        "root": os.geteuid() == 0,
    }


def test_a_supervisor_keeps_what_it_will_need() -> None:
    found = apart(trimmed)
    assert found["kept"]
    assert found["dumpable"] == int(found["root"])


BIND, TIME = 10, 25  # CAP_NET_BIND_SERVICE, CAP_SYS_TIME


def started_with_ambient_rights() -> list[str]:
    """As systemd's AmbientCapabilities= starts a service; then as an upgrade execs the next one."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        every = linux.permitted_capabilities()
        low, high = every & 0xFFFF_FFFF, every >> 32
        libc.capset(struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", *[low] * 3, *[high] * 3))
        for number in (BIND, TIME):
            linux.prctl(47, 2, number)  # PR_CAP_AMBIENT_RAISE
    before = int(status("CapAmb")["CapAmb"], 16)
    privileges.trim_supervisor()
    kept = int(status("CapAmb")["CapAmb"], 16)
    privileges.give_up_capabilities()
    return [f"{number:x}" for number in (before, kept, int(status("CapAmb")["CapAmb"], 16))]


def test_a_right_to_bind_outlives_an_upgrade_and_goes_to_no_child() -> None:
    # 2: CAP_DAC_READ_SEARCH, by which an unprivileged run of the tests may read us.
    before, kept, left = (int(word, 16) for word in apart(started_with_ambient_rights))
    assert kept == before & (1 << BIND | 1 << 2)
    assert not kept & 1 << TIME
    assert before >> BIND & 1 == (os.geteuid() == 0)
    assert left == 0


def nothing_to_give_up() -> int:
    """How often capset(2) is called by who has no capability any more, and where it may be forbidden."""
    privileges.give_up_capabilities()
    libc = Library(vars(linux)["_libc"])
    vars(linux)["_libc"] = libc
    privileges.give_up_capabilities()
    return libc.calls


class Library:
    """The C library, counting."""

    def __init__(self, libc: ctypes.CDLL) -> None:
        self.capget = libc.capget
        self.calls = 0

    def capset(self, *_: object) -> int:
        self.calls += 1
        return 0


def test_who_has_no_capabilities_does_not_call_for_less() -> None:
    assert apart(nothing_to_give_up) == 0


def test_capabilities_that_stay_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "keep_capabilities", lambda kept: None)
    monkeypatch.setattr(linux, "permitted_capabilities", lambda: 1)
    with pytest.raises(PermissionError, match="left"):
        privileges.give_up_capabilities()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What `become` asks of the system, in its order; the system grants it all."""
    made: list[str] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *words: made.append(f"{name}{words}")

    for name in ("setgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, note(name))
    return made


def refuse(*_words: object) -> None:
    raise PermissionError


def test_groups_go_before_the_right_to_change_them(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setuid", refuse)
    monkeypatch.setattr(os, "setgid", refuse)
    monkeypatch.setattr(os, "getresuid", lambda: (7, 7, 7))
    monkeypatch.setattr(os, "getresgid", lambda: (8, 8, 8))
    monkeypatch.setattr(os, "getgroups", list)
    privileges.become(Identity("x", 7, 8))
    assert calls == ["setgroups([],)", "setresgid(8, 8, 8)", "setresuid(7, 7, 7)"]
    monkeypatch.setattr(os, "getgroups", lambda: [0])
    with pytest.raises(RuntimeError, match="not x"):
        privileges.become(Identity("x", 7, 8))


def test_a_root_that_comes_back_is_an_error(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "setuid", lambda uid: None)
    with pytest.raises(RuntimeError, match="still root"):
        privileges.become(Identity("x", 7, 8))
    assert calls


def test_who_to_become(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert privileges.identity(None) == NOBODY
    assert privileges.identity("nobody") == dataclasses.replace(NOBODY, own=True)
    assert privileges.identity("root") is None
    with pytest.raises(privileges.NoSuchUser, match="no user"):
        privileges.identity("no.such.user")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert privileges.identity(None) is None
    with pytest.raises(privileges.NoSuchUser, match="only root"):
        privileges.identity("root")


def test_where_there_are_no_capabilities_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "IS_LINUX", False)
    monkeypatch.setattr(linux, "keep_capabilities", refuse)
    privileges.give_up_capabilities()
    privileges.trim_supervisor()


def test_a_kernel_without_mdwe_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def prctl(option: int, *_words: int) -> int:
        if option == linux.PR_SET_MDWE:
            raise OSError(22, "Invalid argument")
        return 0

    monkeypatch.setattr(linux, "prctl", prctl)
    assert privileges.refuse_new_privileges() == "without MDWE"
