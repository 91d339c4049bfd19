"""Giving up root: to whom, in which order, and the proof that it cannot be had back."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

# Whom a server that root started without naming a user becomes: root's rights are for binding alone.
FALLBACK = "nobody"


class NoSuchUser(Exception):
    """The user to become does not exist, or only root could become it; the text says which."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user that a process can become."""

    name: str
    uid: int
    gid: int


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
    return Identity(name, entry.pw_uid, entry.pw_gid)


def become(who: Identity) -> None:
    """Give root up for good: groups first, while there is the right to; then prove it (setresuid(2)).

    Raises PermissionError when any of it is refused, RuntimeError when root came back.
    """
    os.setgroups([])
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    if who.uid == 0:
        return
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise RuntimeError(f"still root after becoming {who.name}")
