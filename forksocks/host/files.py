"""Files that take another's place, and names that turn out to be links."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# What open(2) says of a symbolic link under O_NOFOLLOW: the second is FreeBSD's word.
SYMLINK = frozenset({errno.ELOOP, errno.EMLINK})


@contextlib.contextmanager
def temporary(directory: Path, prefix: str) -> Iterator[tuple[int, str]]:
    """A new file of mode 0600, open, and its name, which goes unless it was renamed. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=prefix, dir=directory)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
