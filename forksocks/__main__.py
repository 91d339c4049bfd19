"""`python -m forksocks`, and where both commands begin: what they are made of takes a while to import.

Until it is there, Ctrl-C ends the process as it ends any other; Python would show where it was.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_interrupts() -> Iterator[None]:
    """SIGINT kills, unless whoever started us has it ignored; afterwards it is as it was."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def server() -> int:
    """The command `forksocks`."""
    with quiet_interrupts():
        from forksocks.cli import main
    return main()


def control() -> int:
    """The command `forksocksctl`."""
    with quiet_interrupts():
        from forksocks.ctl import main
    return main()


if __name__ == "__main__":
    sys.exit(server())
