"""The order, what `auto` and `require` make of a missing layer, and systems that have none of it."""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forksocks.config.model import LogConfig, SandboxMode
from forksocks.host import linux
from forksocks.host.log import Log
from forksocks.host.sandbox import confinement, descriptors, landlock, limits, privileges, seccomp
from forksocks.host.sandbox.confinement import Refused, Sandbox
from forksocks.host.sandbox.privileges import Identity
from forksocks.host.sandbox.profile import profiles
from forksocks.host.sandbox.root import EmptyRoot
from tests.host.sandbox.apart import apart, errno_of

PROFILES = profiles(workers=2, threads=16)
OTHER = Identity("other", 12345, 12346)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps that were taken; none of them does anything."""
    taken: list[str] = []

    def step(name: str, answer: object = None) -> Callable[..., object]:
        def take(*_words: object, **_named: object) -> object:
            taken.append(name)
            return answer

        return take

    for module, name in (
        (descriptors, "raise_sockets"), (descriptors, "silence_standard"), (descriptors, "close_others"),
        (descriptors, "lower_sockets"),
        (limits, "apply"), (EmptyRoot, "enter"), (privileges, "become"),
        (privileges, "give_up_capabilities"), (privileges, "hide_memory"),
        (privileges, "refuse_new_privileges"), (landlock, "restrict"), (seccomp, "restrict"),
        (confinement, "require_one_thread"), (Log, "prepare_for_sandbox"), (privileges, "trim_supervisor"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, step(name))
    monkeypatch.setattr(confinement, "must_fail", lambda _attempt, _errors: None)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    return taken


def confined(mode: SandboxMode, role: str, identity: Identity | None = OTHER) -> Any:
    sandbox = Sandbox(mode, identity, PROFILES)
    log = Log.open(LogConfig())
    sandbox.share(role, [], log, list)
    report = sandbox.confine(role)
    log.close(1)
    return report


def test_the_order_is_the_one_that_works(steps: list[str]) -> None:
    report = confined(SandboxMode.REQUIRE, "worker")
    assert steps == [
        "silence_standard", "close_others", "lower_sockets", "prepare_for_sandbox", "raise_sockets",
        "require_one_thread", "apply",
        "enter", "become", "give_up_capabilities", "hide_memory", "refuse_new_privileges", "restrict",
        "restrict",
    ]  # fmt: skip
    assert report.held == "limits, chroot, ids (other), no_new_privs, Landlock, seccomp"


def test_who_needs_files_keeps_its_root(steps: list[str]) -> None:
    assert "chroot" not in confined(SandboxMode.REQUIRE, "lookup").held
    assert "enter" not in steps


def test_off_gives_up_root_alone(steps: list[str]) -> None:
    assert confined(SandboxMode.OFF, "worker").layers == ()
    assert steps == ["become"]
    assert confined(SandboxMode.OFF, "worker", identity=None).layers == ()
    Sandbox(SandboxMode.OFF, None, PROFILES).trim_supervisor()
    assert steps == ["become"]
    Sandbox(SandboxMode.AUTO, None, PROFILES).trim_supervisor()
    assert steps == ["become", "trim_supervisor"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (errno.ENOSYS, "this kernel has none"),
        (errno.EOPNOTSUPP, "off in this kernel"),
        (errno.EPERM, "not permitted"),
        (errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_a_missing_layer_is_reported_or_refused(
    steps: list[str], monkeypatch: pytest.MonkeyPatch, code: int, reason: str
) -> None:
    def fail(*_words: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(landlock, "restrict", fail)
    report = confined(SandboxMode.AUTO, "worker")
    assert report.missing == f"Landlock ({reason})"
    assert report.held.endswith("seccomp")
    with pytest.raises(Refused, match=rf"sandbox of worker is incomplete: Landlock \({reason}\)"):
        confined(SandboxMode.REQUIRE, "worker")


def test_without_a_place_for_an_empty_root(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmptyRoot, "__init__", _raise)
    assert confined(SandboxMode.AUTO, "worker").missing == "chroot (nowhere)"


def _raise(_self: object) -> None:
    raise OSError("nowhere")


def test_who_stays_root_is_told(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert confined(SandboxMode.AUTO, "worker", identity=None).missing == "ids (is root)"


def test_root_that_cannot_be_given_up_is_never_only_reported(
    steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_who: Identity) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(privileges, "become", fail)
    for mode in (SandboxMode.AUTO, SandboxMode.OFF):
        with pytest.raises(Refused, match=r"cannot become other: Operation not permitted; .* --user root"):
            confined(mode, "worker")


def test_a_system_without_any_of_it_still_has_limits_root_and_ids(
    steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    for module, name in ((limits, "apply"), (EmptyRoot, "enter"), (privileges, "become")):
        monkeypatch.setattr(module, name, lambda *_words: None)
    monkeypatch.setattr(linux, "IS_LINUX", False)
    monkeypatch.setattr(confinement, "require_one_thread", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    report = Sandbox(SandboxMode.AUTO, OTHER, PROFILES).confine("worker")
    assert report.held == "limits, chroot, ids (other)"
    assert report.missing == (
        "no_new_privs (this system has none), Landlock (this system has none), seccomp (this system has none)"
    )


def test_a_layer_that_holds_nothing_back_does_not_count() -> None:
    with pytest.raises(OSError, match="holds nothing back"):
        confinement.must_fail(list, (errno.EACCES,))
    with pytest.raises(OSError, match="holds nothing back"):
        confinement.must_fail(lambda: os.open("/no/such", 0), (errno.EACCES,))
    confinement.must_fail(lambda: os.open("/no/such", 0), (errno.ENOENT,))


def whole(role: str) -> dict[str, Any]:
    """Confine this process for real."""
    nobody = pwd.getpwnam("nobody")
    identity = Identity("nobody", nobody.pw_uid, nobody.pw_gid) if os.geteuid() == 0 else None
    sandbox = Sandbox(SandboxMode.AUTO, identity, PROFILES)
    sandbox.trim_supervisor()
    listener = socket.create_server(("127.0.0.1", 0))
    os.dup2(1, 60)
    sandbox.share(role, [listener], Log.open(LogConfig()), list, kept=[60])
    os.dup2(60, 1)
    report = sandbox.confine(role)
    return {
        "layers": [layer.name for layer in report.layers if layer.holds],
        "passwd": errno_of(lambda: os.open("/etc/passwd", os.O_RDONLY)),
        "lookup": bool(socket.getaddrinfo(b"localhost", None)) if role == "lookup" else None,
        "listener": errno_of(lambda: listener.shutdown(socket.SHUT_RD)),
    }


@pytest.mark.parametrize("role", ["worker", "lookup"])
def test_for_real(role: str) -> None:
    found = apart(whole, role)
    is_worker = role == "worker"
    expected = ["limits", *(["chroot"] if is_worker and os.geteuid() == 0 else []), "ids", "no_new_privs"]
    assert found == {
        "layers": [*expected, "Landlock", "seccomp"],
        "passwd": errno.EACCES if is_worker else 0,
        "lookup": None if is_worker else True,
        "listener": errno.ENOSYS,
    }


def crowded(folder: str) -> dict[str, Any]:
    """Confine a process in which everything that stays has the number of something that is lifted."""
    sandbox = Sandbox(SandboxMode.AUTO, None, PROFILES)
    base = PROFILES["admin"].descriptors
    for number in range(3, base):  # numbers are given from the lowest on
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        os.dup2(1, number)
    listener, line = socket.create_server(("127.0.0.1", 0)), socket.socketpair()
    log = Log.open(LogConfig(to=f"file:{folder}/log"))
    kept = [*os.pipe(), os.dup(1)]
    born = [log.fileno(), listener.fileno(), line[0].fileno(), *kept]
    numbers = sandbox.share("admin", [listener, line[0]], log, list, kept)
    os.dup2(numbers[2], 1)
    os.write(numbers[1], b"words")
    found = {
        "born": min(born) >= base,
        "low": max(log.fileno(), *numbers) < base,
        "numbers": [listener.fileno() - base, line[0].fileno() - base],
        "words": os.read(numbers[0], 9).decode(),
        "listens": listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
    }
    another = os.open(f"{folder}/another", os.O_CREAT | os.O_WRONLY)
    layers = sandbox.confine("admin").layers
    log.replace(another)
    return {**found, "limits": any(layer.name == "limits" and layer.holds for layer in layers)}


def test_whoever_is_born_with_many_descriptors_keeps_its_own(tmp_path: Path) -> None:
    assert apart(crowded, str(tmp_path)) == {
        "born": True, "low": True, "numbers": [1, 2], "words": "words", "listens": 1, "limits": True,
    }  # fmt: skip


def threads() -> str:
    import threading

    waiting = threading.Event()
    thread = threading.Thread(target=waiting.wait)
    thread.start()
    try:
        Sandbox(SandboxMode.AUTO, None, PROFILES).confine("worker")
    except RuntimeError as error:
        return str(error)
    finally:
        waiting.set()
        thread.join()
    return "confined"


def test_a_second_thread_is_refused() -> None:
    assert apart(threads) == "2 threads where one is confined"
