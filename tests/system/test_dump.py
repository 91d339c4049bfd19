"""`forksocksctl dump` against a real server."""

from __future__ import annotations

from pathlib import Path

from tests.system.client import PASSWORD, Client
from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.processes import eventually
from tests.system.programs import ctl, make_user, objects

CONFIG = """
[server]
workers = 2
threads = 50
[[listen]]
name = "cellar"
bind = ["127.0.0.1:0"]
[access]
allow_to = ["@loopback", "10.7.0.0/16"]
[auth]
users = "{folder}/users"
[[rule]]
name = "no-attic"
to = [".attic.example"]
action = "deny"
[[rule]]
name = "staircase"
users = ["gwendolyn"]
action = "allow"
[limit.handrail]
per = "user"
connections = 20
[admin]
socket = "{folder}/admin.sock"
"""
SECRETS = (
    "cellar", "gwendolyn", "attic", "staircase", "handrail", "10.7.0.0", "127.0.0.1", "203.0.113", "/users",
)  # fmt: skip


def test_all_that_a_server_tells(server: Start, echo: Origin, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "gwendolyn", "secret")
    served = server(config=CONFIG.format(folder=tmp_path))
    ctl(tmp_path, "bans", "--add", "203.0.113.9")
    with Client(served.endpoint) as refused:
        assert refused.greet(PASSWORD) == PASSWORD
        assert refused.authenticate(b"gwendolyn", b"secret") == 0
        assert refused.request("www.attic.example", 80).code == 2
    assert eventually(lambda: objects(tmp_path, "refusals"))
    with Client(served.endpoint) as client:
        client.open(echo.host, echo.port, b"gwendolyn", b"secret")
        text = ctl(tmp_path, "dump").out.decode()
        assert [secret for secret in SECRETS if secret not in text] == []
        hidden = ctl(tmp_path, "dump", "--anon").out.decode()
        assert [secret for secret in (*SECRETS, str(tmp_path)) if secret in hidden] == []
        assert text.count("\n") == hidden.count("\n")
        found = objects(tmp_path, "dump", "--anon")
    kinds = {each["kind"] for each in found}
    assert kinds == {
        "status", "settings", "causes", "rules", "limits", "bans", "users", "clients", "tunnels", "refusals"
    }  # fmt: skip
    (tunnel,) = [each for each in found if each["kind"] == "tunnels"]
    (refusal,) = [each for each in found if each["kind"] == "refusals"]
    (user,) = [each for each in found if each["kind"] == "users"]
    assert tunnel["user"] == refusal["user"] == user["user"], "the same user is the same word"
    assert tunnel["to"].endswith(f":{echo.port}")
    assert "helper.command" not in text
    assert "helper.command" not in hidden
