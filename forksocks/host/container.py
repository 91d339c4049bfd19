"""Is this a container?

There a private source address proves nothing: port mappers such as docker-proxy put their own in place of the
client's, so that the whole internet arrives from 172.17.0.1. Any one sign is enough: taking a machine for a
container costs its neighbours a flag, the other way round makes an open proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

# Docker; Podman and CRI-O; systemd's convention (nspawn, LXC with systemd inside),
# systemd.io/CONTAINER_INTERFACE.
_FILES = (".dockerenv", "run/.containerenv", "run/systemd/container")

_OVERLAYS = frozenset({"overlay", "fuse-overlayfs", "aufs"})  # what images' layers are joined with


def container_sign(environ: Mapping[str, str], root: Path = Path("/")) -> str | None:
    """What shows that this is a container, "/.dockerenv"; None if nothing that can be read does."""
    for name in _FILES:
        if (root / name).exists():
            return f"/{name}"
    for variable in ("container", "KUBERNETES_SERVICE_HOST"):
        if environ.get(variable):
            return f"${variable}"
    if _init_has_container_variable(root / "proc/1/environ"):
        return "$container of process 1"
    if _root_is_overlay(root / "proc/self/mountinfo"):
        return "an overlay as root file system"
    return None


def _init_has_container_variable(path: Path) -> bool:
    """LXC tells its init alone, and only root may read that."""
    return any(entry.startswith(b"container=") for entry in _read(path).split(b"\0"))


def _root_is_overlay(path: Path) -> bool:
    """Whether the mount on / is an overlay; fields as in proc(5), the type comes first after " - "."""
    for line in _read(path).splitlines():
        mount, _, source = line.decode("utf-8", "replace").partition(" - ")
        fields = mount.split()
        if len(fields) > 4 and fields[4] == "/" and source.split(" ")[0] in _OVERLAYS:
            return True
    return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
