"""How addresses to listen on are written, and the mistakes that people make with them."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path

from forksocks.config.model import Address, Bind
from forksocks.config.values import Wrong, path, shown, text

UNIX_PATH_BYTES = 107  # sun_path of unix(7) is 108 bytes with its final NUL


def binds(value: object, base: Path) -> tuple[Bind, ...]:
    """Where to listen: `ADDRESS:PORT`, `[ADDRESS]:PORT`, `:PORT` (both families), `unix:PATH`, or
    `systemd:NAME`, sockets that were handed to us."""
    allowed = 'an address as "192.0.2.1:1080", "[2001:db8::1]:1080", ":1080" or "unix:/path"'
    written = text(value, allowed)
    if written.startswith("unix:") and written != "unix:":
        return (Bind(path=_socket_path(written[5:], base)),)
    if re.fullmatch(r"systemd:[A-Za-z0-9_.@-]{1,255}", written):  # FileDescriptorName= of systemd.socket(5)
        return (Bind(name=written[8:]),)
    host, _, port = written.rpartition(":")
    cure = _bind_cure(written)
    if cure is None and (not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535):
        cure = "a port is a number from 0 to 65535"
    if cure is not None:
        raise _no_address(value, cure)
    if not host:
        both = (ipaddress.IPv4Address(0), ipaddress.IPv6Address(0))
        return tuple(Bind(host=each, port=int(port)) for each in both)
    return (Bind(host=_bind_host(host, value), port=int(port)),)


def one_tcp(value: object, base: Path) -> Bind:
    """One TCP address and port. Raises values.Wrong."""
    found = binds(value, base)
    if len(found) != 1 or found[0].host is None:
        raise _no_address(value, 'name one address and its port, as in "127.0.0.1:9180"')
    return found[0]


def _no_address(value: object, why: str) -> Wrong:
    return Wrong(f"{shown(value)} is no address to listen on: {why}")


def _bind_cure(written: str) -> str | None:
    """The mistakes that people make, and what to write instead."""
    if re.fullmatch(r"[0-9]{1,5}", written):
        return f'write ":{written}" for every address'
    if written.startswith("*:"):
        return f'write "{written[1:]}" for every address'
    if "://" in written:
        return f'write "{written.partition("://")[2]}"'
    if written == "unix:":
        return 'the path is missing, as in "unix:/run/forksocks.sock"'
    if written.count(":") > 1 and not written.startswith("["):
        return 'an IPv6 address goes into brackets, as in "[::1]:1080"'
    if written.endswith("]") or ":" not in written:
        return 'the port is missing, as in "127.0.0.1:1080" or ":1080"'
    return None


def _bind_host(host: str, value: object) -> Address:
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        found = ipaddress.ip_address(inner)
    except ValueError:
        if inner is host and not re.fullmatch(r"[0-9.]+", host):
            raise _no_address(value, 'names are not looked up here; write as in "127.0.0.1:1080"') from None
        raise _no_address(value, f"{shown(inner)} is no IPv{4 if inner is host else 6} address") from None
    if (found.version == 6) != (inner is not host):
        raise _no_address(value, "brackets are for IPv6")
    if found.version == 6 and found.ipv4_mapped is not None:
        port = str(value).rpartition(":")[2]
        raise _no_address(value, f'write "{found.ipv4_mapped}:{port}", which it is')
    if found.is_multicast:
        raise _no_address(value, "nobody can listen there")
    if isinstance(found, ipaddress.IPv6Address) and found.is_link_local != bool(found.scope_id):
        if found.scope_id:
            raise _no_address(value, "only link-local addresses have an interface")
        cure = f'write "[{found}%eth0]" with the interface that it is on in place of eth0'
        raise _no_address(value, cure)
    return found


def _socket_path(written: str, base: Path) -> Path:
    where = path(written, base)
    if len(os.fsencode(where)) > UNIX_PATH_BYTES:
        raise Wrong(f"{shown(str(where))}: the path of a unix socket has at most {UNIX_PATH_BYTES} bytes")
    return where
