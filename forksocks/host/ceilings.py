"""What the machine allows one process and all of them: rlimits, cgroups, sysctls.

Only read, and where there is nothing to read (another system, no /proc) nobody limits anything: None. A
process knows its own rlimits everywhere.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# Where the hierarchy of pids is mounted: version 1, version 2, both at once (cgroups(7)).
_HIERARCHIES = ("sys/fs/cgroup/pids", "sys/fs/cgroup", "sys/fs/cgroup/unified")


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One limit: how much, and what it is called where it is set. path: of a cgroup's file or a sysctl's."""

    most: int
    name: str
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The limits of a process by its number, None for the calling one."""

    pid: int | None = None
    root: Path = Path("/")

    def descriptors(self) -> int | None:
        """RLIMIT_NOFILE: the hard limit, which a start makes the soft one."""
        return self._rlimit(resource.RLIMIT_NOFILE, "Max open files")

    def tasks(self) -> Ceiling | None:
        """The lowest of all limits on processes and threads; None for no limit."""
        found = [*self._cgroups()]
        if (processes := self._rlimit(resource.RLIMIT_NPROC, "Max processes")) is not None:
            found.append(Ceiling(processes, "RLIMIT_NPROC"))
        for name in ("kernel.threads-max", "kernel.pid_max"):
            if (most := self.sysctl(name)) is not None:
                found.append(Ceiling(most, name, self._sysctl_path(name)))
        return min(found, key=lambda each: each.most, default=None)

    def sysctl(self, name: str) -> int | None:
        """A number of sysctl(8), "net.core.somaxconn"; None if there is none."""
        return (self.sysctls(name) or (None,))[0]

    def sysctls(self, name: str) -> tuple[int, ...]:
        """All numbers of a sysctl that has several."""
        return _numbers(self._sysctl_path(name))

    def _sysctl_path(self, name: str) -> Path:
        return self.root / "proc/sys" / name.replace(".", "/")

    def _rlimit(self, number: int, title: str) -> int | None:
        """A hard limit; of another process as /proc/PID/limits has it (proc(5)), which everybody may read."""
        if self.pid is None and self.root == Path("/"):
            _, own = resource.getrlimit(number)
            return None if own == resource.RLIM_INFINITY else own
        path = self.root / "proc" / str(self.pid or "self") / "limits"
        for line in _text(path).splitlines():
            if line.startswith(title):
                hard = line.removeprefix(title).split()[1]
                return int(hard) if hard.isdecimal() else None
        return None

    def _cgroups(self) -> Iterator[Ceiling]:
        """pids.max of the process's cgroup and of all above it: each of them holds."""
        for line in _text(self.root / "proc" / str(self.pid or "self") / "cgroup").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, inside = rest.partition(":")
            if controllers and "pids" not in controllers.split(","):
                continue
            for hierarchy in _HIERARCHIES[:1] if controllers else _HIERARCHIES[1:]:
                base = self.root / hierarchy
                path = base / inside.strip("/")
                for folder in (path, *(each for each in path.parents if each.is_relative_to(base))):
                    file = folder / "pids.max"
                    yield from (Ceiling(most, "pids.max", file) for most in _numbers(file))


def _numbers(path: Path) -> tuple[int, ...]:
    """The numbers in a file; none for "max", and for no file."""
    return tuple(int(word) for word in _text(path).split() if word.isdecimal())


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
