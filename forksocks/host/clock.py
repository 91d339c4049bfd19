"""Is the machine's clock kept by anybody? (adjtimex(2))"""

from __future__ import annotations

import ctypes

from forksocks.host import linux

STA_UNSYNC = 0x40  # <linux/timex.h>


class _Timex(ctypes.Structure):
    """struct timex, as far as we look, with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("most_wrong", ctypes.c_long),
        ("about_wrong", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def is_kept() -> bool | None:
    """Whether the kernel says that the clock is synchronized; None where it says nothing."""
    if not linux.IS_LINUX:
        return None
    asked = _Timex()  # modes 0: nothing is set
    try:
        linux.adjtimex(asked)
    except OSError:
        return None
    return not asked.status & STA_UNSYNC
