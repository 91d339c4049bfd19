"""A realm of one's own: MIT's KDC with its database in a folder, on a free port of 127.0.0.1.

Nothing of the machine's Kerberos is read or changed: every program gets KRB5_CONFIG and KRB5_KDC_PROFILE.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.machine import free_port
from tests.system.processes import LONG, eventually
from tests.system.programs import run

REALM = "TEST.EXAMPLE"
SECURE = '"confidentiality", "integrity"'
_CLIENT = """\
[libdefaults]
default_realm = {realm}
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
default_ccache_name = FILE:{folder}/ccache

[realms]
{realm} = {{
    kdc = 127.0.0.1:{port}
}}

[domain_realm]
localhost = {realm}
"""
_SERVER = """\
[kdcdefaults]
kdc_listen = 127.0.0.1:{port}
kdc_tcp_listen = 127.0.0.1:{port}

[realms]
{realm} = {{
    database_name = {folder}/principal
    key_stash_file = {folder}/stash
    acl_file = {folder}/acl
}}

[logging]
kdc = FILE:{folder}/kdc.log
"""


class Realm:
    """A running KDC; `extra` are the variables that make programs use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        settings = {"realm": REALM, "folder": folder, "port": self._port}
        (folder / "krb5.conf").write_text(_CLIENT.format(**settings))
        (folder / "kdc.conf").write_text(_SERVER.format(**settings))
        self.extra: Mapping[str, str] = {
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{folder}/ccache",
            "KRB5RCACHEDIR": str(folder),
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
        }
        run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master", extra=self.extra)

    def admin(self, query: str) -> None:
        """Ask kadmin.local for something."""
        run("kadmin.local", "-r", REALM, "-q", query, extra=self.extra)

    def add_user(self, name: str, password: str) -> None:
        """Make a principal with a password."""
        self.admin(f"addprinc -pw {password} {name}")

    def make_keytab(self, path: Path, *services: str) -> None:
        """Write the keys of services of localhost."""
        for service in services:
            self.admin(f"addprinc -randkey {service}/localhost")
            self.admin(f"ktadd -k {path} {service}/localhost")

    def log_in(self, name: str, password: str) -> None:
        """Get a ticket, as kinit does."""
        run("kinit", name, text=password.encode() + b"\n", extra=self.extra)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the KDC."""
        process = subprocess.Popen(
            ["krb5kdc", "-n", "-r", REALM], env={**os.environ, **self.extra},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            log = self._folder / "kdc.log"
            started = eventually(
                lambda: (
                    process.poll() is not None or (log.exists() and "commencing operation" in log.read_text())
                )
            )
            assert started, "the KDC does not start"
            assert process.poll() is None, log.read_text() if log.exists() else "the KDC has ended"
            yield
        finally:
            process.kill()
            process.wait(LONG)


@contextlib.contextmanager
def realm(folder: Path) -> Iterator[Realm]:
    """Make a realm and run its KDC until the block ends."""
    folder.mkdir()
    made = Realm(folder)
    with made.running():
        yield made


def configuration(keytab: Path, protection: str = SECURE, auth: str = '["gssapi"]', more: str = "") -> str:
    """A file for a server with these keys; `more` are further keys of [gssapi]."""
    return (
        f'[server]\nworkers = 2\ndrain = "5s"\n[[listen]]\nbind = ["127.0.0.1:0"]\nauth = {auth}\n'
        f'[access]\nallow_to = ["@loopback"]\n[gssapi]\nkeytab = "{keytab}"\nprotection = [{protection}]\n'
        f'{more}\n[log]\nlevel = "debug"\n'
    )
