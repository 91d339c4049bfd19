"""System calls that fail although nothing is wrong: strace(1), --inject."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.system import processes
from tests.system.processes import eventually
from tests.system.server import Server, command


@contextlib.contextmanager
def into(pid: int, fault: str, *options: str) -> Iterator[None]:
    """Let system calls of a process fail until the block ends.

    options: "-f" for all its threads, and for those and the children that it starts from now on.
    """
    calls = fault.partition(":")[0]
    words = ["strace", "-qq", *options, "-e", f"trace={calls}", "-e", f"inject={fault}", "-p", str(pid)]
    threads = sorted(Path(f"/proc/{pid}/task").iterdir()) if "-f" in options else [Path(f"/proc/{pid}")]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as tracer:
        try:
            assert eventually(lambda: all(map(_is_traced, threads)))
            yield
        finally:
            tracer.terminate()  # it lets go of whom it traces


def _is_traced(process: Path) -> bool:
    """Whether strace has it; a thread that has ended needs no tracing."""
    with contextlib.suppress(*processes.GONE):
        return "TracerPid:\t0\n" not in (process / "status").read_text()
    return True


@contextlib.contextmanager
def serving(folder: Path, fault: str, *flags: str) -> Iterator[Server]:
    """A server whose system calls fail from its start on; it ends as every server does."""
    call = fault.partition(":")[0]
    tracing = ["strace", "-D", "-f", "-qq", "-e", f"trace={call}", "-e", f"inject={fault}"]
    server = Server([*tracing, "-o", str(folder / "calls"), *command(flags, ("127.0.0.1:0",))])
    try:
        server.wait_until_started()
        yield server
        server.stop()
        assert "INJECTED" in (folder / "calls").read_text()
    except BaseException:
        print("\n".join(["the server's log:", *server.log]))
        raise
    finally:
        server.kill()
