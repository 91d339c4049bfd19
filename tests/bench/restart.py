"""How soon a killed worker is replaced: from kill -9 of the only one to a whole session with its successor.

A steady client opens, asks an origin, reads its answer and leaves, again and again. A second does the same
from the moment of the kill: what counts is its first session that is served, however many are cut before,
because the dying worker had taken them. Each kill has a fresh server: the next death of one that has just
died would be paused.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import sys
import time
from collections.abc import Sequence

from tests.system import origins
from tests.system.client import Endpoint
from tests.system.load import exchange, knocking
from tests.system.origins import Origin
from tests.system.server import started

ASKED = 100.0  # ms
BEFORE = 20  # sessions of the steady client before the kill
PATIENCE = 30.0  # seconds until it is said that nobody serves
SANDBOXES = ("off", "auto")


def is_served(server: Endpoint, echo: Origin) -> bool:
    """Whether a session was served, and not cut."""
    try:
        exchange(server, echo)
    except (ConnectionError, EOFError):
        return False
    return True


def restart(words: Sequence[str], echo: Origin) -> tuple[float, int]:
    """Kill the only worker of a fresh server: ms until the next session was served, and how many were cut."""
    with started(words) as server:
        with knocking(server.endpoint, echo, threads=1) as steady:
            steady.wait_for(BEFORE)
            if steady.failed:
                raise SystemExit("a session failed before anything was killed")
            (worker,) = server.workers
            began, cut = time.monotonic(), 0
            os.kill(worker, signal.SIGKILL)
            while not is_served(server.endpoint, echo):
                cut += 1
                if time.monotonic() - began > PATIENCE:
                    raise SystemExit(f"nobody serves {PATIENCE:.0f} s after the kill")
            took = time.monotonic() - began
        if server.workers == [worker]:
            raise SystemExit("the worker was not killed")
        server.stop()
    return took * 1000, cut + steady.failed


def main() -> None:
    """Measure, with and without sandbox in turns, and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.restart", description=__doc__)
    parser.add_argument("--repeats", type=int, default=20, help="kills of each kind (20)")
    repeats = parser.parse_args().repeats
    took: dict[str, list[float]] = {sandbox: [] for sandbox in SANDBOXES}
    cuts = 0
    with origins.serving(origins.echo) as echo, contextlib.redirect_stdout(None):
        for _ in range(repeats):
            for sandbox in SANDBOXES:
                flags = ["--workers", "1", "--sandbox", sandbox, "--allow-to", "@loopback"]
                ms, cut = restart([sys.executable, "-m", "forksocks", *flags, "127.0.0.1:0"], echo)
                took[sandbox].append(ms)
                cuts += cut
    for sandbox, found in took.items():
        beyond = "" if max(found) <= ASKED else f"   BEYOND {ASKED:.0f} ms"
        print(f"sandbox {sandbox:5} median {statistics.median(found):5.1f} ms, "
              f"at most {max(found):5.1f} ms, of {repeats} kills{beyond}")  # fmt: skip
    print(f"{cuts} sessions were cut by {2 * repeats} kills")


if __name__ == "__main__":
    main()
