"""What this machine offers: the fast paths and the layers a sandbox can be made of, for `--version`.

Asks the kernel and changes nothing; where it cannot be asked, the answer is "no".
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

# <linux/landlock.h>: landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) returns the ABI.
# System calls of 2019 and later have one number on all architectures but Alpha.
SYS_LANDLOCK_CREATE_RULESET = 444
LANDLOCK_CREATE_RULESET_VERSION = 1
PR_GET_SECCOMP = 21  # <linux/prctl.h>
PR_GET_NO_NEW_PRIVS = 39
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
    options = ("TCP_DEFER_ACCEPT", "TCP_NOTSENT_LOWAT", "IP_BIND_ADDRESS_NO_PORT")
    return (_splice(), *(Feature(name, hasattr(socket, name)) for name in options))


def sandbox_layers() -> tuple[Feature, ...]:
    """What a worker could be confined with here."""
    abi = landlock_abi()
    return (
        Feature("Landlock", abi > 0, f"ABI {abi}" if abi > 0 else ""),
        Feature("seccomp", _prctl_knows(PR_GET_SECCOMP)),
        Feature("no_new_privs", _prctl_knows(PR_GET_NO_NEW_PRIVS)),
        Feature("chroot", os.geteuid() == 0, "" if os.geteuid() == 0 else "needs root"),
    )


def landlock_abi() -> int:
    """The version of Landlock that the kernel speaks, 0 without it (landlock(7))."""
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None)
    libc.syscall.restype = ctypes.c_long
    answer: int = libc.syscall(
        ctypes.c_long(SYS_LANDLOCK_CREATE_RULESET),
        None,
        ctypes.c_size_t(0),
        ctypes.c_uint32(LANDLOCK_CREATE_RULESET_VERSION),
    )
    return max(0, answer)


def _splice() -> Feature:
    if not hasattr(os, "splice"):
        return Feature("splice", False, "copying instead")
    try:
        largest = int(PIPE_MAX_SIZE.read_text())
    except (OSError, ValueError):
        return Feature("splice", True)
    return Feature("splice", True, f"pipes up to {largest >> 10} KiB")


def _prctl_knows(option: int) -> bool:
    if sys.platform != "linux":
        return False
    answer: int = ctypes.CDLL(None).prctl(ctypes.c_int(option), *[ctypes.c_ulong(0)] * 4)
    return answer >= 0
