"""System calls that fail although nothing is wrong: strace(1), --inject."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.system.server import Server, command, started


@contextlib.contextmanager
def into(pid: int, fault: str, *options: str) -> Iterator[None]:
    """Let system calls of a process fail until the block ends.

    options: "-f" for all its threads, and for those and the children that it starts from now on.
    """
    calls = fault.partition(":")[0]
    words = ["strace", *options, "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={fault}"]
    with subprocess.Popen([*words, "-p", str(pid)], stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr
        try:
            # TracerPid is set before the tracer has stopped the process, and until then its calls succeed.
            said = tracer.stderr.readline()
            assert f"Process {pid} attached" in said, said
            yield
        finally:
            tracer.terminate()  # it lets go of whom it traces
            tracer.communicate()


@contextlib.contextmanager
def serving(folder: Path, fault: str, *flags: str) -> Iterator[Server]:
    """A server whose system calls fail from its start on; it ends as every server does."""
    call = fault.partition(":")[0]
    tracing = ["strace", "-D", "-f", "-qq", "-e", f"trace={call}", "-e", f"inject={fault}"]
    with started([*tracing, "-o", str(folder / "calls"), *command(flags)]) as server:
        yield server
        server.stop()
        assert "INJECTED" in (folder / "calls").read_text()
