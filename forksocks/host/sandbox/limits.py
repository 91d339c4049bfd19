"""What a confined process may use up (setrlimit(2)): nothing that it does not need for its work."""

from __future__ import annotations

import contextlib
import resource

from forksocks.host import linux
from forksocks.host.sandbox.profile import Profile

# Locked memory (io_uring wants some) and message queues have no use here. Files are not limited in size:
# RLIMIT_FSIZE would end the log.
_NOTHING = (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK, linux.RLIMIT_MSGQUEUE)


def apply(profile: Profile, descriptors: int, accounts_own: bool) -> None:
    """Set the limits, soft and hard. Raises OSError.

    descriptors: for RLIMIT_NOFILE. accounts_own: the process is about to become an account that is the
    server's alone. RLIMIT_NPROC counts all threads of an account: elsewhere those of a person who is logged
    in would count, or of every other service that runs as "nobody".
    """
    for which in _NOTHING:
        if which is not None:
            _lower(which, 0)
    _lower(resource.RLIMIT_NOFILE, descriptors)
    with contextlib.suppress(OSError):  # macOS knows the name and refuses the call
        _lower(resource.RLIMIT_DATA, profile.memory)
    if accounts_own:
        _lower(resource.RLIMIT_NPROC, profile.threads)


def _lower(which: int, to: int) -> None:
    """Never raise: who started us may have set less."""
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        to = min(to, hard)
    resource.setrlimit(which, (to, to))
