from __future__ import annotations

from pathlib import Path

import pytest

from forksocks.host.container import container_sign

MACHINE = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n30 22 0:30 / /mnt rw - overlay overlay rw\n"
CONTAINER = (
    "412 300 0:50 / / rw master:1 - overlay overlay rw,lowerdir=/x\n413 412 0:5 / /proc rw - proc proc rw\n"
)


def put(root: Path, name: str, content: bytes = b"") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)


def test_a_plain_machine_shows_no_sign(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/mountinfo", MACHINE.encode())
    put(tmp_path, "proc/1/environ", b"HOME=/\0xcontainer=no\0")
    assert container_sign({"HOME": "/root", "container": ""}, tmp_path) is None


@pytest.mark.parametrize("name", [".dockerenv", "run/.containerenv", "run/systemd/container"])
def test_a_runtimes_file_is_a_sign(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert container_sign({}, tmp_path) == f"/{name}"


@pytest.mark.parametrize("name", ["container", "KUBERNETES_SERVICE_HOST"])
def test_a_variable_is_a_sign(tmp_path: Path, name: str) -> None:
    assert container_sign({name: "something"}, tmp_path) == f"${name}"


def test_the_environment_of_init_is_a_sign(tmp_path: Path) -> None:
    put(tmp_path, "proc/1/environ", b"HOME=/\0container=lxc\0")
    assert container_sign({}, tmp_path) == "$container of process 1"


def test_an_overlay_below_everything_is_a_sign(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/mountinfo", CONTAINER.encode())
    assert container_sign({}, tmp_path) == "an overlay as root file system"


def test_odd_lines_of_mountinfo_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "proc/self/mountinfo", b"\n1 2 3\n\xff\xfe - overlay\n - \n")
    assert container_sign({}, tmp_path) is None
