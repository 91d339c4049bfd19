"""An empty root directory: made, opened, and removed again before anyone goes in.

A directory that has been removed stays empty for ever: nothing can be made in it, not even by root, and
nothing is left on the disk.
"""

from __future__ import annotations

import contextlib
import os
import tempfile

from forksocks.host.sandbox import descriptors

PLACES = ("/run", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a directory of its own is made there


class EmptyRoot:
    """A descriptor of the empty directory; every child closes it when it has gone in, or does not want to."""

    def __init__(self) -> None:
        self._descriptor = _removed_directory()

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def lower(self, below: int) -> None:
        """Have a number under `below`. Raises OSError."""
        self._descriptor = descriptors.lower(self._descriptor, below)

    def enter(self) -> None:
        """Make it the root (chroot(2)) and the working directory. Raises OSError, mostly PermissionError."""
        os.fchdir(self._descriptor)
        os.chroot(".")
        os.chdir("/")

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


def _removed_directory() -> int:
    """Raises OSError when no place can be written to."""
    for place in PLACES:
        with contextlib.suppress(OSError):
            path = tempfile.mkdtemp(prefix="forksocks-root-", dir=place)
            try:
                # Another account that looks for a file there is to hear that there is none: libkrb5 goes on
                # without a configuration, but not without one that it may not see.
                os.chmod(path, 0o711)  # noqa: S103 - nothing can be in it
                return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            finally:
                os.rmdir(path)
    raise OSError(f"no directory can be made in {', '.join(PLACES)}")
