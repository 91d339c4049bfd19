"""Programs that speak SOCKS themselves, or through another, through a real server: netcat, ssh, git."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.system import origins
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.programs import home, make_user, run
from tests.system.server import environment

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # where Debian keeps sshd; not in an ordinary user's PATH
GIT = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}
ME = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")


def test_netcat(server: Start, echo: Origin) -> None:
    started = server()
    data = b"".join(origins.pattern(3_000_000))
    words = ("nc", "-N", "-X", "5", "-x", started.address, "localhost", str(echo.port))
    assert run(*words, text=data).out == data
    end = started.wait_for("end")
    assert (end["to"], end["up"], end["down"]) == (f"localhost:{echo.port}", str(len(data)), str(len(data)))


class Sshd:
    """An OpenSSH server of the test's own: configuration, keys, and a client's configuration for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = shutil.which("sshd", path=SBIN) or "sshd"
        for name in ("host", "client"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
        shutil.copy(folder / "client.pub", folder / "authorized")
        host_key = (folder / "host.pub").read_text()
        (folder / "known").write_text(f"target {host_key}")
        (folder / "sshd.conf").write_text(
            f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\nPidFile none\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "PermitRootLogin yes\nPermitUserRC no\nPrintMotd no\n"
        )

    def serve(self, sock: socket.socket) -> None:
        """Be the server of one connection, as inetd has it."""
        with (self.folder / "log").open("ab") as log:
            subprocess.run(
                [self.program, "-i", "-e", "-f", str(self.folder / "sshd.conf")],
                stdin=sock.fileno(), stdout=sock.fileno(), stderr=log, env=environment(), check=False,
            )  # fmt: skip

    def options(self, proxy_command: str, port: int) -> list[str]:
        """The options of an ssh that reaches it through a proxy."""
        lines = {
            "HostKeyAlias": "target", "UserKnownHostsFile": self.folder / "known",
            "IdentityFile": self.folder / "client", "IdentitiesOnly": "yes", "IdentityAgent": "none",
            "BatchMode": "yes", "ProxyCommand": proxy_command, "Port": port,
        }  # fmt: skip
        return ["-F", "none", *(f"-o{name}={value}" for name, value in lines.items())]


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    folder = tmp_path / "ssh"
    folder.mkdir()
    run_folder = Path("/run/sshd")  # sshd(8): needed as root; Debian makes it when it starts the service
    ours = False
    if os.geteuid() == 0:
        with contextlib.suppress(FileExistsError):
            run_folder.mkdir(mode=0o755)
            ours = True
    yield Sshd(folder)
    if ours:
        run_folder.rmdir()


def test_ssh_with_a_proxy_command(server: Start, sshd: Sshd) -> None:
    started = server()
    me = pwd.getpwuid(os.geteuid()).pw_name
    data = b"".join(origins.pattern(20_000_000))
    with origins.serving(sshd.serve) as target:
        words = sshd.options(f"nc -X 5 -x {started.address} %h %p", target.port)
        done = run("ssh", *words, f"{me}@localhost", "sha1sum", text=data, status=None)
        assert done.status == 0, f"{done}\n{(sshd.folder / 'log').read_text()}"
        assert done.out.split()[0].decode() == hashlib.sha1(data, usedforsecurity=False).hexdigest()
    end = started.wait_for("end", to=f"localhost:{target.port}")
    assert int(end["up"]) > len(data)


def test_git_clones_over_http(server: Start, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "alice", "p:@/% word")
    started = server("--users", str(tmp_path / "users"))
    variables = {**GIT, **home(tmp_path / "home")}
    work, bare, clone = tmp_path / "work", tmp_path / "bare.git", tmp_path / "clone"

    def git(*words: str, cwd: Path = tmp_path) -> str:
        return run("git", *words, cwd=cwd, extra=variables).out.decode()

    git("init", "-q", str(work))
    for number in range(20):
        (work / f"file{number}").write_bytes(origins.BLOCK[number * 5000 : number * 5000 + 100_000])
        git("add", ".", cwd=work)
        git(*ME, "commit", "-q", "-m", f"commit {number}", cwd=work)
    git("clone", "-q", "--bare", str(work), str(bare))
    git("update-server-info", cwd=bare)

    def page(path: str) -> tuple[str, bytes] | None:
        file = bare / path.partition("?")[0].strip("/")
        return ("application/octet-stream", file.read_bytes()) if file.is_file() else None

    with origins.web(page) as web:
        proxy = f"socks5h://alice:{quote('p:@/% word', '')}@{started.address}"
        git("-c", f"http.proxy={proxy}", "clone", "-q", web.url(host="localhost"), str(clone))
    assert git("rev-parse", "HEAD", cwd=clone) == git("rev-parse", "HEAD", cwd=work)
    git("fsck", "--strict", cwd=clone)
    assert started.wait_for("end", user="alice")["to"] == f"localhost:{web.port}"
