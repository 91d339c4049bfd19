from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from forksocks.host import ceilings
from forksocks.host.ceilings import Ceilings

LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max processes             {processes}                {processes}                processes
Max open files            1024                 {files}               files
"""


class Machine:
    """The files of a machine in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def limits(self, processes: str = "unlimited", files: str = "4096", pid: str = "self") -> None:
        self.write(f"proc/{pid}/limits", LIMITS.format(processes=processes, files=files))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_that_tells_nothing_limits_nothing(tmp_path: Path) -> None:
    here = Ceilings(root=tmp_path)
    assert (here.descriptors(), here.tasks(), here.sysctl("fs.file-max")) == (None, None, None)


def test_the_hard_limit_counts_and_that_of_the_process_asked_about(machine: Machine) -> None:
    machine.limits(files="4096")
    machine.limits(files="unlimited", pid="77")
    assert Ceilings(root=machine.root).descriptors() == 4096
    assert Ceilings(77, machine.root).descriptors() is None


@pytest.mark.parametrize(
    ("line", "hierarchy"),
    [
        ("0::/system.slice/forksocks.service", "sys/fs/cgroup"),
        ("0::/system.slice/forksocks.service", "sys/fs/cgroup/unified"),
        ("8:cpu,pids:/system.slice/forksocks.service", "sys/fs/cgroup/pids"),
    ],
)
def test_the_lowest_limit_of_the_cgroups_above_holds(line: str, hierarchy: str, machine: Machine) -> None:
    machine.limits(processes="9000")
    machine.write("proc/self/cgroup", f"3:memory:/elsewhere\n{line}\n")
    machine.write(f"{hierarchy}/system.slice/forksocks.service/pids.max", "max\n")
    here = Ceilings(root=machine.root)
    found = here.tasks()
    assert found
    assert (found.most, found.name) == (9000, "RLIMIT_NPROC")
    machine.write(f"{hierarchy}/system.slice/pids.max", "512\n")
    assert here.tasks() == ceilings.Ceiling(
        512, "pids.max", machine.root / hierarchy / "system.slice/pids.max"
    )
    machine.write("proc/sys/kernel/threads-max", "100\n")
    found = here.tasks()
    assert found
    assert (found.most, found.name) == (100, "kernel.threads-max")


def test_sysctls_with_one_number_and_two(machine: Machine) -> None:
    machine.write("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n")
    assert Ceilings(root=machine.root).sysctls("net.ipv4.ip_local_port_range") == (32768, 60999)


def test_ones_own_descriptors_are_known_without_any_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    known = None if hard == resource.RLIM_INFINITY else hard
    monkeypatch.setattr(ceilings, "_text", lambda path: "")
    assert Ceilings().descriptors() == known
    monkeypatch.setattr(resource, "getrlimit", lambda number: (64, 400))
    assert Ceilings().descriptors() == 400
    assert Ceilings(os.getpid()).descriptors() is None
