from __future__ import annotations

import pytest

from forksocks.config.load import load_text
from forksocks.config.model import Config
from forksocks.process import reload

LISTEN = '[[listen]]\nname = "{}"\nbind = ["{}"]\nauth = [{}]\n'
USERS = '[auth]\nusers = "/users"\n'


def config(*listeners: tuple[str, str, str], more: str = "") -> Config:
    tables = "".join(LISTEN.format(name, bind, auth) for name, bind, auth in listeners)
    return load_text(tables + more).config


CLOSED = config(("a", "127.0.0.1:1", '"password"'), more=USERS)
MIXED = config(("a", "127.0.0.1:1", '"password"'), ("b", "127.0.0.1:2", '"none"'), more=USERS)
OPEN = config(("a", "127.0.0.1:1", '"none"'))


@pytest.mark.parametrize(
    ("old", "new", "opened"),
    [
        (CLOSED, CLOSED, ()),
        (CLOSED, OPEN, ("127.0.0.1:1",)),
        (CLOSED, MIXED, ("127.0.0.1:2",)),
        (MIXED, OPEN, ("127.0.0.1:1",)),
        (MIXED, config(("c", "127.0.0.1:2", '"none"')), ()),
        (OPEN, config(("a", "127.0.0.1:3", '"none"')), ()),
        (OPEN, CLOSED, ()),
        (CLOSED, config(("a", "127.0.0.1:1", '"password", "none"'), more=USERS), ("127.0.0.1:1",)),
        (CLOSED, config(("a", "127.0.0.1:1", '"none"'), more="[access]\nopen_proxy = true\n"), ()),
    ],
)
def test_what_would_be_opened(old: Config, new: Config, opened: tuple[str, ...]) -> None:
    assert reload.openings(old, new) == opened
    if opened:
        with pytest.raises(reload.Refused, match="would no longer ask for a password"):
            reload.admitted(old, new)


def test_keys_that_cannot_change_stay_as_they_were() -> None:
    new = config(
        ("a", "127.0.0.1:1", '"none"'), more='[server]\nuser = "nobody"\npidfile = "/p"\ndrain = "9s"\n'
    )
    admitted, ignored = reload.admitted(OPEN, new)
    assert ignored == ("server.user", "server.pidfile")
    assert (admitted.server.user, admitted.server.pidfile, admitted.server.drain) == (None, None, 9.0)


def test_every_changed_key_is_named() -> None:
    new = config(
        ("a", "127.0.0.1:2", '"none"'),
        more='timeouts.idle = "5m"\n[server]\nthreads = 77\n[access]\nallow_to = ["@loopback"]\n',
    )
    assert reload.changes(OPEN, new) == (
        "access.allow_to", "listen.a.bind", "listen.a.timeouts.idle", "server.threads",
    )  # fmt: skip
    assert reload.changes(OPEN, OPEN) == ()
    assert reload.changes(OPEN, MIXED) == ("auth.users", "listen", "listen.a.auth")
