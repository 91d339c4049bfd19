"""What a person reads: the lines of a first start on a terminal, and `--version`.

Everything here is told from the configuration and from what was really bound; nothing is asked twice.
"""

from __future__ import annotations

import ipaddress
import platform
import textwrap
from collections.abc import Sequence
from urllib.parse import quote

from forksocks import __version__
from forksocks.access.clients import Clients
from forksocks.config.model import AuthMethod, Config, Level, ListenConfig
from forksocks.config.values import show_duration
from forksocks.host import machine
from forksocks.host.routes import Routes

TRY_URL = "https://example.com/"

LOGGED = {
    Level.ERROR: "errors",
    Level.NOTICE: "errors and refusals; -v adds sessions",
    Level.INFO: "sessions; -vv adds their steps",
    Level.DEBUG: "each step of each session",
    Level.TRACE: "each step of each session and each decision of the system",
}


def version() -> str:
    """`--version`: this program, what runs it, what the machine offers it."""
    paths = ", ".join(str(feature) for feature in machine.fast_paths())
    layers = ", ".join(str(feature) for feature in machine.sandbox_layers())
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    return "\n".join(
        (
            f"forksocks {__version__}",
            f"Python {platform.python_version()} on {kernel}",
            f"fast paths: {paths}",
            f"sandbox layers: {layers}",
        )
    )


def first_start(config: Config, addresses: Sequence[str], routes: Routes, in_container: bool) -> str:
    """Where it listens, who may use it, what it may reach, what is logged, how to try it, how to stop it.

    A line each on most machines; the one to paste is never broken.
    """
    drain = show_duration(config.server.drain).strip('"')
    lines = (
        ("listens", " ".join(addresses)),
        ("serves", who(config, routes, in_container)),
        ("reaches", reach(config)),
        ("log", f"{config.log.to}: {LOGGED[config.log.level]}"),
        ("stop", f"Ctrl-C; tunnels may last {drain} more, a second one ends them"),
    )
    filled = [
        textwrap.fill(
            text, 79, initial_indent=f"{label:<8}", subsequent_indent=" " * 8,
            break_long_words=False, break_on_hyphens=False,
        ) for label, text in lines
    ]  # fmt: skip
    return "\n".join([*filled[:-1], f"{'try':<8}{curl(addresses[0], config)}", filled[-1], ""])


def who(config: Config, routes: Routes, in_container: bool) -> str:
    """Who is served: in one phrase where all listeners agree, else listener by listener."""
    phrases = {each.name: _who(each, config, routes, in_container) for each in config.listen}
    if len(set(phrases.values())) == 1:
        return next(iter(phrases.values()))
    return "; ".join(f"on {name} {phrase}" for name, phrase in phrases.items())


def _who(listen: ListenConfig, config: Config, routes: Routes, in_container: bool) -> str:
    """Each way to authenticate admits its own clients: a password may open more than an address does."""
    phrases = []
    for method in listen.auth:
        whom = Clients(config.access, method is not AuthMethod.NONE, in_container, routes).describe()
        phrases.append(f"{whom} {_how(config, method)}".rstrip())
    return ", ".join(phrases)


def _how(config: Config, method: AuthMethod) -> str:
    if method is AuthMethod.GSSAPI:
        return "with a Kerberos ticket"
    if method is AuthMethod.PASSWORD:
        return f"with a name and password of {config.auth.users or config.helper.command[0]}"
    if config.access.open_proxy:
        return "without a password (an open proxy)"
    if config.access.allow_from is None and not config.checks_passwords:
        return "(more: --users, --allow-from)"
    return "without a password" if config.checks_passwords else ""


def reach(config: Config) -> str:
    """What may be dialled."""
    if not config.access.allow_to:
        return "the public internet, nothing private (more: --allow-to)"
    return f"the public internet and {', '.join(str(each) for each in config.access.allow_to)}"


def curl(bound: str, config: Config) -> str:
    """A line to paste; where it listens on every address, loopback is one of them."""
    user = "-U user:password " if AuthMethod.NONE not in config.listen[0].auth else ""
    if bound.startswith("unix:"):
        return f"curl {user}-x socks5h://localhost{quote(bound[5:])} {TRY_URL}"
    host, _, port = bound.rpartition(":")
    address = ipaddress.ip_address(host.strip("[]"))
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "[::1]"
    return f"curl {user}-x socks5h://{host}:{port} {TRY_URL}"
