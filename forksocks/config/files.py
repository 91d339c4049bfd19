"""Files that the configuration is read from: never waited for.

Whoever opens a FIFO waits for somebody to write (fifo(7)); a supervisor that waits there replaces no worker,
hears no signal and never ends.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

# What a shell has opened for us, as in `-c <(make-config)`: whoever writes there is at it already.
_DESCRIPTORS = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


def content(path: Path, most: int, may_wait: bool = False) -> bytes:
    """The first `most` bytes of a file, and one more if it is longer. Raises OSError, ValueError for a NUL.

    may_wait: take a pipe or a terminal as well, if it is among our own descriptors.
    """
    with open(path, "rb", opener=_at_once) as file:
        if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode) or file.isatty():
            if not (may_wait and str(path).startswith(_DESCRIPTORS)):
                raise OSError(
                    errno.EINVAL, "it is a pipe or a terminal; name a file, which can be read again"
                )
            os.set_blocking(file.fileno(), True)
        return file.read(most + 1)


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
