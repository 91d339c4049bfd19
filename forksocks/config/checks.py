"""Values that are each right and together impossible.

Each check names the keys that it looks at; where one of them is already wrong, it is not asked, so that one
mistake is one message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from forksocks.config import rule_checks
from forksocks.config.model import AuthMethod, Bind, Config
from forksocks.config.rule_checks import Conflict
from forksocks.config.values import readable

# A listening address keeps a thread waiting in accept while another carries its client.
THREADS_PER_ADDRESS = 2


Check = Callable[[Config], Iterator[Conflict]]


def combinations(config: Config, wrong: frozenset[str]) -> Iterator[Conflict]:
    """Everything that does not go together."""
    for needed, check in CHECKS:
        if not any(key == need or key.startswith(need + ".") for need in needed for key in wrong):
            yield from check(config)


def threads_for_every_address(config: Config) -> Iterator[Conflict]:
    """Fewer would leave an address without anybody to accept on it."""
    addresses = sum(len(listen.bind) for listen in config.listen)
    least = THREADS_PER_ADDRESS * addresses
    if config.server.threads < least:
        text = f"must be at least {least}, twice the listening addresses, not {config.server.threads}"
        yield Conflict("server.threads", "[server] threads", text)


def binds_once(config: Config) -> Iterator[Conflict]:
    """An address twice; port 0 may be, each gets its own."""
    seen: dict[Bind, str] = {}
    for number, listen in enumerate(config.listen):
        for bind in listen.bind:
            if bind in seen and (bind.port or bind.path or bind.name):
                key = f"listen.{number}.bind"
                where = "there twice" if seen[bind] == listen.name else f"already in listener {seen[bind]}"
                yield Conflict(key, "[listen] bind", f"{readable(str(bind))} is {where}")
            seen.setdefault(bind, listen.name)


def names_once(config: Config) -> Iterator[Conflict]:
    """A name is what the log and the limits know a listener by."""
    seen: set[str] = set()
    for number, listen in enumerate(config.listen):
        if listen.name in seen:
            yield Conflict(
                f"listen.{number}.name", "[listen] name", f'"{listen.name}" is taken by another listener'
            )
        seen.add(listen.name)


def auth_can_work(config: Config) -> Iterator[Conflict]:
    """Methods that exist, once each, and users for those that need them."""
    for number, listen in enumerate(config.listen):
        key = f"listen.{number}.auth"
        if not listen.auth:
            yield Conflict(
                key, "[listen] auth", 'must not be empty: "none" admits clients without a password'
            )
        for method, times in Counter(listen.auth).items():
            if times > 1:
                yield Conflict(key, "[listen] auth", f'has "{method.value}" {times} times')
        if AuthMethod.PASSWORD in listen.auth and not config.checks_passwords:
            text = '"password" needs users: set users in [auth], or --users FILE, or command in [helper]'
            yield Conflict(key, "[listen] auth", text)
        if AuthMethod.GSSAPI in listen.auth and config.gssapi.keytab is None:
            yield Conflict(key, "[listen] auth", '"gssapi" needs the server\'s keys: set keytab in [gssapi]')
    if not config.gssapi.protection:
        yield Conflict("gssapi.protection", "[gssapi] protection", "must not be empty")


def something_is_served(config: Config) -> Iterator[Conflict]:
    """A listener without a protocol or a command would serve nobody."""
    for number, listen in enumerate(config.listen):
        for key, chosen in (("protocols", listen.protocols), ("commands", listen.commands)):
            words = Counter(each.value for each in chosen)
            if not words:
                yield Conflict(f"listen.{number}.{key}", f"[listen] {key}", "must not be empty")
            for word, times in words.items():
                if times > 1:
                    yield Conflict(f"listen.{number}.{key}", f"[listen] {key}", f'has "{word}" {times} times')


def users_are_asked(config: Config) -> Iterator[Conflict]:
    """Who names a file of users, or a helper, expects that it decides."""
    text = 'never asked: no listener has "password" in its auth'
    if any(AuthMethod.PASSWORD in each.auth for each in config.listen):
        return
    if config.auth.users is not None:
        yield Conflict("auth.users", "[auth] users", f"are {text}")
    if config.helper.command:
        yield Conflict("helper.command", "[helper] command", f"is {text}")


def passwords_have_one_home(config: Config) -> Iterator[Conflict]:
    """Which of two would be right about a user whom both know?"""
    if config.auth.users is not None and config.helper.command:
        text = "checks passwords, and so would users in [auth]: leave out one of them"
        yield Conflict("helper.command", "[helper] command", text)


def open_proxy_is_one(config: Config) -> Iterator[Conflict]:
    """`open_proxy` says "yes, anyone, on purpose"; next to it nothing may say otherwise."""
    access = config.access
    key = "access.open_proxy"
    if access.open_proxy and access.allow_from is not None:
        yield Conflict(
            key, "[access] open_proxy", "admits anyone, allow_from does not: leave out one of them"
        )
    if access.open_proxy and all(AuthMethod.NONE not in each.auth for each in config.listen):
        yield Conflict(key, "[access] open_proxy", "has no effect: every listener asks for a password")


def who_needs_no_password(config: Config) -> Iterator[Conflict]:
    """Some, or anyone?"""
    if config.access.without_password is not None and config.access.open_proxy:
        text = "says who needs no password, open_proxy says nobody does: leave out one of them"
        yield Conflict("access.without_password", "[access] without_password", text)


def somebody_is_admitted(config: Config) -> Iterator[Conflict]:
    """An empty list would be a proxy for nobody."""
    if config.access.allow_from == ():
        yield Conflict("access.allow_from", "[access] allow_from", "must not be empty: nobody could connect")


def daemon_has_a_log(config: Config) -> Iterator[Conflict]:
    """A daemon has closed its stderr."""
    if config.server.daemon and config.log.to == "stderr":
        text = 'a daemon has no stderr: use "syslog" or "file:/path"'
        yield Conflict("log.to", "[log] to", text)


def files_are_different(config: Config) -> Iterator[Conflict]:
    """One path cannot be two things."""
    named: list[tuple[str, str, str]] = []
    for number, listen in enumerate(config.listen):
        named += [
            (f"listen.{number}.bind", "[listen] bind", str(each.path)) for each in listen.bind if each.path
        ]
    sockets = {path for _, _, path in named}
    others = {
        "auth.users": config.auth.users,
        "auth.lockout": config.auth.lockout.file,
        "server.pidfile": config.server.pidfile,
        "admin.socket": config.admin.socket,
        "log.to": config.log.to.removeprefix("file:"),
    }
    taken = set(sockets)
    for key, named_path in others.items():
        if named_path is None:
            continue
        path = str(named_path)
        if path in taken:
            text = f"{readable(path)} is already something else here"
            yield Conflict(key, "[{}] {}".format(*key.split(".")), text)
        taken.add(path)


def admin_group_has_a_socket(config: Config) -> Iterator[Conflict]:
    """A group that may ask where nothing answers is a mistake."""
    if config.admin.group is not None and config.admin.socket is None:
        yield Conflict("admin.group", "[admin] group", "has no effect without socket")


def admin_http_is_closed(config: Config) -> Iterator[Conflict]:
    """Nobody has to log in there: an address that others reach is said twice."""
    http = config.admin.http
    if http is not None and http.host is not None and not (http.host.is_loopback or config.admin.http_open):
        text = f"{http} is reached by others, and nobody has to log in: say http_open, or use 127.0.0.1"
        yield Conflict("admin.http", "[admin] http", text)
    if http is None and config.admin.http_open:
        yield Conflict("admin.http_open", "[admin] http_open", "has no effect without http")


CHECKS: tuple[tuple[tuple[str, ...], Check], ...] = (
    (("server.threads", "listen"), threads_for_every_address),
    (("listen",), binds_once),
    (("listen",), names_once),
    (("listen", "auth", "helper", "gssapi"), auth_can_work),
    (("listen", "auth", "helper"), users_are_asked),
    (("listen",), something_is_served),
    (("auth", "helper"), passwords_have_one_home),
    (("listen", "auth", "access"), open_proxy_is_one),
    (("access",), who_needs_no_password),
    (("access",), somebody_is_admitted),
    (("admin",), admin_group_has_a_socket),
    (("admin",), admin_http_is_closed),
    (("egress", "rule"), rule_checks.one_egress_address_a_family),
    (("server.daemon", "log"), daemon_has_a_log),
    (("listen", "auth", "server.pidfile", "log", "admin"), files_are_different),
    *((("rule", "sets", "limit", "test", "listen"), check) for check in rule_checks.CHECKS),
)
