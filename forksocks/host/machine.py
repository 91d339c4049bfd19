"""What this machine offers: the fast paths and the layers a sandbox can be made of, for `--version`.

Asks the kernel and changes nothing; where it cannot be asked, the answer is "no".
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from forksocks.host import linux
from forksocks.host.sandbox import landlock, seccomp

PIPE_MAX_SIZE = Path("/proc/sys/fs/pipe-max-size")


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a machine has or has not; `detail` says how much of it, or why not."""

    name: str
    offered: bool
    detail: str = ""

    def __str__(self) -> str:
        shown = self.name if self.offered else f"no {self.name}"
        return f"{shown} ({self.detail})" if self.detail else shown


def fast_paths() -> tuple[Feature, ...]:
    """What makes relaying and dialling fast here."""
    return (_splice(), *(Feature(name, option is not None) for name, option in linux.FAST.items()))


def sandbox_layers() -> tuple[Feature, ...]:
    """What a worker could be confined with here."""
    abi = landlock_abi()
    return (
        Feature("Landlock", abi > 0, f"ABI {abi}" if abi > 0 else ""),
        _seccomp(),
        Feature("no_new_privs", _prctl_knows(linux.PR_GET_NO_NEW_PRIVS)),
        Feature("chroot", os.geteuid() == 0, "" if os.geteuid() == 0 else "needs root"),
    )


def _seccomp() -> Feature:
    """The kernel's part, and the library that makes filters for it."""
    if not _prctl_knows(linux.PR_GET_SECCOMP):
        return Feature("seccomp", False)
    try:
        return Feature("seccomp", True, seccomp.library().__name__)
    except seccomp.NoLibrary as error:
        return Feature("seccomp", False, str(error))


def landlock_abi() -> int:
    """The version of Landlock that the kernel speaks, 0 without it (landlock(7))."""
    try:
        return landlock.version()
    except OSError:
        return 0


def _splice() -> Feature:
    if not linux.HAS_SPLICE:
        return Feature("splice", False, "copying instead")
    try:
        largest = int(PIPE_MAX_SIZE.read_text())
    except (OSError, ValueError):
        return Feature("splice", True)
    return Feature("splice", True, f"pipes up to {largest >> 10} KiB")


def _prctl_knows(option: int) -> bool:
    try:
        return linux.IS_LINUX and linux.prctl(option, 0) >= 0
    except OSError:
        return False
