"""The load generator and the origin: compiled from C when the benchmark starts, run from here."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.bench.proxies import BenchError, program

SOURCES = Path(__file__).parent
COMPILE = ["-O2", "-pthread", "-std=gnu11", "-Wall", "-Wextra"]

# Far above what the slowest proxy needs: a run that takes longer hangs.
TIMEOUT_SECONDS = 120.0

Result = dict[str, float]


@dataclass(frozen=True)
class Generator:
    """Runs `load` against one proxy. `wrapper` is a command that starts `load` in turn, such as perf."""

    binary: Path
    proxy_port: int
    origin_port: int

    def stream(self, direction: str, streams: int, total: int, wrapper: tuple[str, ...] = ()) -> Result:
        """Move `total` bytes each way over `streams` connections: seconds, and bytes both ways together."""
        return self.run("stream", direction, streams, total // streams, wrapper=wrapper)

    def ping(self, rounds: int, beside: int = 0) -> Result:
        """64 bytes to the origin and back, with `beside` downloads under way: p50_us and p99_us."""
        return self.run("ping", rounds, beside)

    def connections(self, clients: int, seconds: float) -> Result:
        """Short connections one after the other from each client: seconds, connections, late, errors."""
        return self.run("connections", clients, seconds)

    def datagrams(self, associations: int, window: int, size: int, seconds: float) -> Result:
        """Datagrams of `size` payload bytes to the origin and back, `window` on the way in each.

        seconds, datagrams that came back within them, lost, and overtaken: later than one sent after it.
        """
        return self.run("datagrams", associations, window, size, seconds)

    def hold(self, count: int, while_held: Callable[[], float] = lambda: 0.0) -> float:
        """Open `count` tunnels, prove each by an exchange, call `while_held` for the answer, close them.

        Raises BenchError unless every one of them opened and closed as it should.
        """
        with subprocess.Popen(
            self.command("hold", count), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as load:
            assert load.stdin is not None
            assert load.stdout is not None
            try:
                opened = parse(load.stdout.readline())
                answer = while_held()
                load.stdin.write("\n")
                load.stdin.flush()
                closed = parse(load.stdout.readline())
            finally:
                load.kill()
        if opened.get("held") != count or closed.get("closed") != count:
            raise BenchError(f"of {count} tunnels: opened {opened}, closed {closed}")
        return answer

    def run(self, mode: str, *arguments: object, wrapper: tuple[str, ...] = ()) -> Result:
        """One run of `load`; raises BenchError with what it said on stderr when it fails or hangs."""
        command = [*wrapper, *self.command(mode, *arguments)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True
            )
        except subprocess.TimeoutExpired:
            raise BenchError(f"{mode} took more than {TIMEOUT_SECONDS:.0f} s") from None
        except subprocess.CalledProcessError as error:
            raise BenchError(f"{mode}: {error.stderr.strip()}") from None
        return parse(done.stdout)

    def command(self, mode: str, *arguments: object) -> list[str]:
        """The command line of `load` for this proxy."""
        return [str(self.binary), mode, *map(str, (self.proxy_port, self.origin_port, *arguments))]


def parse(line: str) -> Result:
    """One line of `load`; an empty one means that it died."""
    try:
        return dict(json.loads(line))
    except ValueError:
        raise BenchError(f"the generator said {line!r}") from None


def compile_all(folder: Path) -> tuple[Path, Path]:
    """Compile into `folder`: the generator and the origin."""
    for name, sources in {"load": ("load.c", "crowd.c", "udp.c"), "origin": ("origin.c",)}.items():
        paths = [str(SOURCES / source) for source in sources]
        subprocess.run([program("gcc", "cc"), *COMPILE, "-o", str(folder / name), *paths], check=True)
    return folder / "load", folder / "origin"


@contextlib.contextmanager
def origin(binary: Path) -> Iterator[int]:
    """Run the origin; gives its port. Raises BenchError when it met something impossible and ended."""
    with subprocess.Popen([str(binary)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
            if process.poll() is not None:
                raise BenchError(f"the origin ended with status {process.returncode}")
        finally:
            process.kill()
