"""What knows users, for the helpers that ask: OpenLDAP's slapd, a few lines of RADIUS, accounts for PAM."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.machine import free_port
from tests.system.processes import LONG, eventually
from tests.system.programs import run

LDAP_BASE = "dc=example"
_SLAPD = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
database mdb
maxsize 10485760
suffix "{base}"
directory {folder}/db
"""
_BASE = "dn: {base}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n"
_PERSON = """\
dn: uid={name},{base}
objectClass: inetOrgPerson
uid: {name}
cn: {name}
sn: {name}
userPassword: {password}

"""


@contextlib.contextmanager
def ldap(folder: Path, users: Mapping[str, str]) -> Iterator[int]:
    """Run slapd with these users and passwords until the block ends; give its port on 127.0.0.1."""
    (folder / "db").mkdir(parents=True)
    config = folder / "slapd.conf"
    config.write_text(_SLAPD.format(folder=folder, base=LDAP_BASE))
    people = "".join(
        _PERSON.format(base=LDAP_BASE, name=name, password=password) for name, password in users.items()
    )
    run("slapadd", "-f", str(config), text=(_BASE.format(base=LDAP_BASE) + people).encode())
    port = free_port()
    process = subprocess.Popen(
        ["slapd", "-f", str(config), "-h", f"ldap://127.0.0.1:{port}/", "-d", "0"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert eventually(lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None, "slapd has ended"
        yield port
    finally:
        process.kill()
        process.wait(LONG)


@contextlib.contextmanager
def radius(secret: bytes, users: Mapping[bytes, bytes]) -> Iterator[int]:
    """Answer RADIUS (RFC 2865) for these users and passwords until the block ends; give the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=_answer_radius, args=(sock, secret, users))
        thread.start()
        try:
            yield sock.getsockname()[1]
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", sock.getsockname())
            thread.join(LONG)


def _answer_radius(sock: socket.socket, secret: bytes, users: Mapping[bytes, bytes]) -> None:
    while (received := sock.recvfrom(4096))[0]:
        packet, client = received
        identifier, authenticator = packet[1], packet[4:20]
        attributes: dict[int, bytes] = {}
        at = 20
        while at < len(packet):
            kind, length = packet[at : at + 2]
            attributes[kind] = packet[at + 2 : at + length]
            at += length
        name, hidden = attributes[1], attributes[2]
        right = users.get(name) == _uncovered(hidden, secret, authenticator)
        head = bytes((2 if right else 3, identifier)) + (20).to_bytes(2, "big")  # section 3: Accept, Reject
        sock.sendto(head + hashlib.md5(head + authenticator + secret).digest(), client)


def _uncovered(hidden: bytes, secret: bytes, before: bytes) -> bytes:
    """RFC 2865 section 5.2, the other way round."""
    clear = b""
    for at in range(0, len(hidden), 16):
        block = hidden[at : at + 16]
        mask = hashlib.md5(secret + before).digest()
        clear += bytes(a ^ b for a, b in zip(block, mask, strict=True))
        before = block
    return clear.rstrip(b"\0")


def accounts(folder: Path, shadow: str, service: str) -> list[str]:
    """Return words that run what follows them with accounts of its own, in a mount namespace of its own.

    shadow: its shadow(5), lines and all. service: the file of PAM's service `forksocks`; there is no other.
    """
    (folder / "pam.d").mkdir(parents=True)
    (folder / "pam.d" / "forksocks").write_text(service)
    (folder / "shadow").write_text(shadow)
    (folder / "shadow").chmod(0o600)
    made = [
        f"{line.partition(':')[0]}:x:{4000 + at}:4000::/:/bin/false\n"
        for at, line in enumerate(shadow.split())
    ]
    (folder / "passwd").write_text(Path("/etc/passwd").read_text() + "".join(made))
    script = "".join(
        f"mount --bind {folder}/{name} /etc/{name} && " for name in ("pam.d", "shadow", "passwd")
    )
    return ["unshare", "-m" if os.geteuid() == 0 else "-rm", "--", "sh", "-c", f'{script}exec "$@"', "sh"]


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
