"""Giving up root: to whom, in which order, and the proof that it cannot be had back."""

from __future__ import annotations

import contextlib
import os
import pwd
from dataclasses import dataclass

from forksocks.host import linux

# Whom a server that root started without naming a user becomes: root's rights are for binding alone.
FALLBACK = "nobody"

# What a supervisor that is root goes on needing, <linux/capability.h>: to open logs, users, sockets and pid
# files that belong to others, to signal its children and make new ones, and to bind again at a reload.
SUPERVISOR_KEEPS = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2, "CAP_FOWNER": 3, "CAP_KILL": 5,
    "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_NET_BIND_SERVICE": 10, "CAP_SYS_CHROOT": 18,
    "CAP_SYS_RESOURCE": 24,
}  # fmt: skip


class NoSuchUser(Exception):
    """The user to become does not exist, or only root could become it; the text says which."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user that a process can become. own: whether the account is the server's alone."""

    name: str
    uid: int
    gid: int
    own: bool = False


def identity(wanted: str | None) -> Identity | None:
    """Return whom children should become; None when they stay who they are. Raises NoSuchUser."""
    if wanted is None and os.geteuid() != 0:
        return None
    name = wanted or FALLBACK
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise NoSuchUser(f"there is no user {name!r} on this machine") from None
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise NoSuchUser(f"only root can become user {name!r}")
    return Identity(name, entry.pw_uid, entry.pw_gid, own=wanted is not None)


def owners(identity: Identity | None) -> frozenset[int]:
    """Whose files a server may trust: root's, its own, and an account's that its children alone become."""
    own = {identity.uid} if identity is not None and identity.own else set()
    return frozenset({0, os.geteuid(), *own})


def become(who: Identity) -> None:
    """Give root up for good: groups first, while there is the right to; then prove it (setresuid(2)).

    Raises PermissionError when any of it is refused, RuntimeError when root came back.
    """
    os.setgroups([])
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    if who.uid != 0:
        _prove_that_it_is_gone(who)


def _prove_that_it_is_gone(who: Identity) -> None:
    for back in (os.setuid, os.setgid):
        try:
            back(0)
        except PermissionError:
            continue
        raise RuntimeError(f"still root after becoming {who.name}")
    if os.getresuid() != (who.uid,) * 3 or os.getresgid() != (who.gid,) * 3 or os.getgroups():
        raise RuntimeError(f"not {who.name} after becoming {who.name}")


def give_up_capabilities() -> None:
    """Keep no right that root or a service manager gave (capabilities(7)). OSError if one is left."""
    if not linux.IS_LINUX:
        return
    linux.keep_capabilities(0)
    if linux.permitted_capabilities():
        raise PermissionError("capabilities are left after giving them up")


def trim_supervisor() -> None:
    """Let the parent keep only what it will need; where it is not root, its children may not look into it.

    What the system refuses is left as it is: this protects the parent from its confined children only.
    """
    if not linux.IS_LINUX:
        return
    with contextlib.suppress(OSError):
        linux.keep_capabilities(sum(1 << number for number in SUPERVISOR_KEEPS.values()))
    if os.geteuid() != 0:
        with contextlib.suppress(OSError):
            linux.prctl(linux.PR_SET_DUMPABLE, 0)


def hide_memory() -> None:
    """Let no process of the same user look into this one: no ptrace, no /proc/PID/mem, no core.

    PR_SET_DUMPABLE of prctl(2); setresuid(2) may have set it back, so this comes after.
    """
    linux.prctl(linux.PR_SET_DUMPABLE, 0)


def refuse_new_privileges() -> str:
    """No setuid program will help, and no memory becomes code that was once writable; for good.

    Returns what is less than that: memory needs Linux 6.3 (PR_SET_MDWE). Raises OSError.
    """
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    try:
        linux.prctl(linux.PR_SET_MDWE, linux.PR_MDWE_REFUSE_EXEC_GAIN)
    except OSError:
        return "without MDWE"
    return ""
