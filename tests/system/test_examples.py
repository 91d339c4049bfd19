"""EXAMPLES of the manual: every command, as it stands there, on a machine with nothing else on it."""

from __future__ import annotations

import contextlib
import http.server
import os
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.booted import PROGRAMS
from tests.system.client import Client
from tests.system.island import NEXT_V4, Island, Machine
from tests.system.programs import Done, run
from tests.system.server import ROOT, Server, environment, started
from tests.terminal import Typist

PAGES = ("forksocks.8", "forksocksctl.8", "forksocks-users.5")
PASSWORD = "correct horse"
PAGE = b"an example"
ETC = Path("/etc/forksocks")  # where the pages say that things are; the island has its own

CONFIGURATION = """\
[[listen]]
bind = ["127.0.0.1:1080"]
[auth]
users = "/etc/forksocks/users"
[admin]
socket = "/run/forksocks/admin.sock"
[server]
workers = 1
drain = "1s"
user = "root"
[log]
level = "info"
"""


def examples(page: str) -> list[str]:
    """The commands of a page's EXAMPLES, in order."""
    text = (ROOT / "packaging" / "man" / page).read_text()
    section = text.partition("\n.Sh EXAMPLES\n")[2].partition("\n.Sh ")[0]
    return re.findall(r"^\.Dl (.+)$", section, re.MULTILINE)


class Home:
    """The administrator's machine; every command is typed in the same folder."""

    def __init__(self, island: Island, folder: Path) -> None:
        self.island = island
        self.folder = folder
        self._environment = {
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "CURL_CA_BUNDLE": str(folder / "ca.pem"),
        }

    def words(self, example: str) -> list[str]:
        variables = [f"{name}={value}" for name, value in self._environment.items()]
        return [*self.island.home.enter, "env", "-C", str(self.folder), *variables, "bash", "-c", example]

    def run(self, example: str, status: int = 0) -> str:
        done: Done = run(*self.words(example), status=status)
        return (done.err + done.out).decode()

    def type_password(self, example: str) -> None:
        """Do what sets a password, and type it twice."""
        person = Typist(self.words(example), env=environment())
        for prompt in (b"New password for alice: ", b"The same again: "):
            person.expect(prompt)
            person.type(PASSWORD.encode() + b"\n")
        assert person.end() == 0
        assert b"alice: password set" in person.seen

    @contextlib.contextmanager
    def serving(self, example: str) -> Iterator[Server]:
        """Start a server as an example does, with an account that a test may use."""
        plain = example.replace("forksocks ", "exec forksocks --user root --drain 1s ", 1)
        with started(self.words(plain)) as server:
            yield server
            server.stop()


@pytest.fixture
def home(island: Island, tmp_path: Path) -> Iterator[Home]:
    """With a configuration in /etc, and https://example.com/ out in the internet."""
    machine: Machine = island.home
    machine.run("mkdir", "-p", str(ETC))
    machine.run("mount", "-t", "tmpfs", "none", str(ETC))
    machine.run("mount", "-t", "tmpfs", "none", "/run")
    machine.run("mkdir", "/run/forksocks")
    machine.run("tee", str(ETC / "forksocks.toml"), text=CONFIGURATION)
    made = Home(island, tmp_path)
    with web(island, tmp_path):
        yield made
    machine.run("umount", str(ETC), "/run")


@contextlib.contextmanager
def web(island: Island, folder: Path) -> Iterator[None]:
    """Serve PAGE at https://example.com/, which curl on the island trusts."""
    for name in ("example.com", "example.org"):
        island.dns.say(name, [NEXT_V4])
    run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "1", "-subj", "/CN=example.com", "-addext", "subjectAltName=DNS:example.com",
        "-keyout", "key.pem", "-out", "ca.pem", cwd=folder,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    with http.server.HTTPServer(("127.0.0.1", 0), Page, bind_and_activate=False) as origin:
        origin.socket.close()
        origin.socket = context.wrap_socket(island.internet.listen(NEXT_V4, 443), server_side=True)
        thread = threading.Thread(target=origin.serve_forever, args=(0.01,))
        thread.start()
        yield
        origin.shutdown()
        thread.join()


class Page(http.server.BaseHTTPRequestHandler):
    """Answers PAGE to everything."""

    def do_GET(self) -> None:
        """Answer one request."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


def test_forksocks(home: Home) -> None:
    local, passwd, with_users, curl, check = examples("forksocks.8")
    with home.serving(local) as server:
        assert home.run(curl).endswith(PAGE.decode())
        assert server.wait_for("started")["listen"] == "0.0.0.0:1080,[::]:1080"
    home.type_password(passwd)
    with home.serving(with_users):
        assert "(97)" in home.run(curl, status=97)  # curl has no password to give
        allowed = curl.replace("curl ", f"curl -U 'alice:{PASSWORD}' ")
        assert home.run(allowed).endswith(PAGE.decode())
    home.run(passwd.replace("passwd users", f"passwd --stdin {ETC}/users") + f" <<<'{PASSWORD}'")
    assert ": ok: 1 worker on 127.0.0.1:1080, " in home.run(check)


def test_forksocksctl(home: Home) -> None:
    passwd, stdin, show, show_one, end, ban, recheck, explain = examples("forksocksctl.8")
    home.type_password(passwd)
    (home.folder / "password.txt").write_text("battery staple\n")
    assert "bob: password set" in home.run(stdin)
    island = home.island
    with (
        home.serving("forksocks -c /etc/forksocks/forksocks.toml") as server,
        island.internet.listen(NEXT_V4, 80),
        Client(island.home.connect("127.0.0.1", 1080)) as client,
    ):
        client.open(NEXT_V4, 80, b"alice", PASSWORD.encode())
        assert "alice" not in home.run(show)  # none is an hour old
        shown = home.run(show.removesuffix("older=1h"))
        (identity,) = re.findall(r"^w1-\S+", shown, re.MULTILINE)
        assert identity in home.run(f"{show_one.rpartition(' ')[0]} {identity}")
        assert "no tunnel fits" in home.run(end, status=1)
        assert home.run(explain).endswith("decision: allow\n")
        home.run(end.replace("192.0.2.0/24", "127.0.0.0/8"))
        server.wait_for("end", cause="ended-by-admin")
        assert "192.0.2.0/24" in home.run(ban)
        assert "192.0.2.0/24" in home.run("forksocksctl bans")
        assert home.run(recheck).startswith("reloaded: generation 2")


def test_forksocks_users(home: Home) -> None:
    (passwd,) = examples("forksocks-users.5")
    home.type_password(passwd)
    assert home.run(f"forksocksctl passwd --list {ETC}/users") == "alice\n"


def test_every_page_with_examples_is_here() -> None:
    man = ROOT / "packaging" / "man"
    assert {page.name for page in man.glob("*.[0-9]") if examples(page.name)} == set(PAGES)
