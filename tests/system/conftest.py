"""Fixtures of the tests with real processes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from tests.system import kerberos, origins
from tests.system.island import Island
from tests.system.kerberos import Realm
from tests.system.origins import Origin, Web
from tests.system.server import ANY_PORT, Server, running


class Start(Protocol):
    """Starts a server that ends with the test."""

    def __call__(
        self,
        *flags: str,
        listen: Sequence[str] = ANY_PORT,
        config: str | None = None,
        follow: Path | None = None,
        inside: Sequence[str] = (),
    ) -> Server:
        """Start it as `running` does; `config` is the text of its file."""
        ...


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def start(
            *flags: str,
            listen: Sequence[str] = ANY_PORT,
            config: str | None = None,
            follow: Path | None = None,
            inside: Sequence[str] = (),
        ) -> Server:
            path = None
            if config is not None:
                path = tmp_path / "forksocks.toml"
                path.write_text(config)
            return stack.enter_context(
                running(*flags, listen=listen, config=path, follow=follow, inside=inside)
            )

        yield start


@pytest.fixture(scope="module")
def island(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Island]:
    with Island(tmp_path_factory.mktemp("island")) as made:
        yield made


@pytest.fixture
def echo() -> Iterator[Origin]:
    with origins.serving(origins.echo) as origin:
        yield origin


@pytest.fixture
def web() -> Iterator[Web]:
    with origins.web() as origin:
        yield origin


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    folder = tmp_path_factory.mktemp("kerberos")
    with kerberos.realm(folder / "realm") as made:
        made.add_user("alice", "secret")
        made.make_keytab(folder / "keytab", "socks", "rcmd")
        (folder / "keytab").chmod(0o600)
        made.log_in("alice", "secret")
        yield made


@pytest.fixture
def keytab(realm: Realm, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's keys; and this process, whose environment libkrb5 reads, is alice."""
    for name, value in realm.extra.items():
        monkeypatch.setenv(name, value)
    return Path(realm.extra["KRB5_CONFIG"]).parent.parent / "keytab"
