"""`forksocksctl recheck` against a real server whose rules have changed under live tunnels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.conftest import Start
from tests.system.origins import Origin
from tests.system.programs import ctl, make_user, objects
from tests.system.server import OBSERVED, Server
from tests.system.test_end import is_over, open_one

CONFIG = (
    OBSERVED
    + """
[auth]
users = "{folder}/users"
"""
)
RULE = '[[rule]]\nname = "no-more"\n{terms}\naction = "deny"\n'
ALLOW = '[[rule]]\nname = "rest"\naction = "allow"\n'


def changed(served: Server, folder: Path, text: str, *words: str) -> bytes:
    (folder / "forksocks.toml").write_text(CONFIG.format(folder=folder) + text)
    return ctl(folder, "reload", *(words or ("--wait",))).out


@pytest.mark.parametrize(
    "terms",
    ['users = ["bob"]', 'groups = ["guests"]', 'users = ["bob"]\nto = ["{host}"]\nports = [{port}]'],
    ids=["user", "group", "destination"],
)
def test_tunnels_that_todays_rules_refuse_are_listed_and_ended(
    server: Start, echo: Origin, tmp_path: Path, terms: str
) -> None:
    make_user(tmp_path / "users", "alice", "secret")
    make_user(tmp_path / "users", "bob", "secret")
    lines = (tmp_path / "users").read_text().rstrip("\n").splitlines()
    (tmp_path / "users").write_text(
        "\n".join(f"{each}:guests" if each[:3] == "bob" else each for each in lines) + "\n"
    )
    served = server("-v", config=CONFIG.format(folder=tmp_path) + ALLOW)
    with open_one(served, echo, b"alice") as alice, open_one(served, echo, b"bob") as bob:
        assert objects(tmp_path, "recheck") == []
        assert ctl(tmp_path, "recheck", "--close").out == b"ended 0\n"
        changed(served, tmp_path, RULE.format(terms=terms.format(host=echo.host, port=echo.port)) + ALLOW)
        (found,) = objects(tmp_path, "recheck")
        assert (found["user"], found["now"]) == ("bob", "deny no-more")
        assert b"deny no-more" in ctl(tmp_path, "recheck").out
        assert bob.exchange(b"still") == b"still"
        assert ctl(tmp_path, "recheck", "--close").out.startswith(b"ended 1\n")
        assert is_over(bob)
        assert served.wait_for("end", id=found["id"])["cause"] == "ended-by-admin"
        assert alice.exchange(b"hello") == b"hello"
        assert objects(tmp_path, "recheck") == []


def test_a_tunnel_whose_address_the_guard_refuses_by_now(server: Start, echo: Origin, tmp_path: Path) -> None:
    make_user(tmp_path / "users", "alice", "secret")
    served = server("-v", config=CONFIG.format(folder=tmp_path))
    with open_one(served, echo, b"alice") as alice:
        text = CONFIG.format(folder=tmp_path).replace('allow_to = ["@loopback"]', "")
        (tmp_path / "forksocks.toml").write_text(text)
        ctl(tmp_path, "reload", "--wait")
        (found,) = objects(tmp_path, "recheck", "--close")
        assert found["now"] == "deny @loopback"
        assert is_over(alice)


def test_a_reload_ends_what_it_refuses_where_it_is_told_to(
    server: Start, echo: Origin, tmp_path: Path
) -> None:
    for name in ("alice", "bob"):
        make_user(tmp_path / "users", name, "secret")
    served = server("-v", config=CONFIG.format(folder=tmp_path) + ALLOW)
    with open_one(served, echo, b"alice") as alice, open_one(served, echo, b"bob") as bob:
        rules = RULE.format(terms='users = ["bob"]') + ALLOW
        assert b"ended" not in changed(served, tmp_path, rules, "--sessions", "keep", "--wait")
        assert bob.exchange(b"still") == b"still"
        assert b"tunnels ended: 1\n" in changed(served, tmp_path, rules, "--sessions", "recheck")
        assert is_over(bob)
        assert alice.exchange(b"hello") == b"hello"
