"""Calls of Linux that Python does not have: prctl(2), capset(2), and system calls by number."""

from __future__ import annotations

import ctypes
import os
import sys

IS_LINUX = sys.platform == "linux"

# <linux/prctl.h>
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS = 38, 39
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1

_CAPABILITY_VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3, <linux/capability.h>

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(answer: int) -> int:
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer


def prctl(option: int, argument: int, *more: int) -> int:
    """prctl(2); arguments that are left out are 0. Raises OSError."""
    words = [ctypes.c_ulong(word) for word in (argument, *more, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(ctypes.c_int(option), *words))


def syscall(number: int, *arguments: object) -> int:
    """syscall(2) with ctypes values. Raises OSError."""
    _libc.syscall.restype = ctypes.c_long
    return _checked(_libc.syscall(ctypes.c_long(number), *arguments))


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """struct __user_cap_data_struct: 32 capabilities of each set."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def permitted_capabilities() -> int:
    """The calling thread's permitted capabilities, a bit for each (capget(2)). Raises OSError."""
    sets = (_Sets * 2)()
    _checked(_libc.capget(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), sets))
    return int(sets[0].permitted) | int(sets[1].permitted) << 32


def keep_capabilities(kept: int) -> None:
    """Give up every capability but those of `kept` that are there. Raises OSError.

    What is kept goes on to programs that this one becomes if it would have before: what is ambient is always
    inheritable, and ceases to be either here if it is not kept (capabilities(7)).
    """
    sets = (_Sets * 2)()
    header = _Header(_CAPABILITY_VERSION_3, 0)
    _checked(_libc.capget(ctypes.byref(header), sets))
    before = bytes(sets)
    for half, bits in zip(sets, (kept & 0xFFFF_FFFF, kept >> 32), strict=True):
        half.permitted &= bits
        half.effective = half.permitted
        half.inheritable &= bits
    if bytes(sets) != before:  # a service manager's filter may forbid the call to who has nothing to give up
        _checked(_libc.capset(ctypes.byref(header), sets))
