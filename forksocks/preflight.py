"""What can be found out about a configuration on this machine before anything is bound.

`--check` and every start ask the same questions; each answer names the setting that has to change. Only
`--check` reads the users file: what the supervisor has once held, every worker could read. And only `--check`
asks whether files can be made: a start finds out by making them, and a reload has them.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path

from forksocks.access import audit, cases, policy, users, users_edit
from forksocks.access.rules import Rules
from forksocks.config import schema
from forksocks.config.load import Loaded
from forksocks.config.model import AuthMethod, Config, RelayKind
from forksocks.config.problems import DEFAULT, Origin, Problem
from forksocks.host import container, gss, kernel, linux, web
from forksocks.host.log import sinks
from forksocks.host.routes import Routes
from forksocks.host.sandbox import privileges
from forksocks.process import kept_bans, limits

MOST_LINES = 10  # wrong ones of a users file that are told
Finding = tuple[str, str]  # dotted key, what is wrong


class Preflight:
    """What the questions about one configuration came to.

    problems: everything that would keep it from serving here; empty when nothing does. rules: its rules as
    they were tried, to be served by; none if they cannot be made. thorough: ask what only `--check` does.
    """

    def __init__(self, loaded: Loaded, thorough: bool) -> None:
        self.loaded = loaded
        self.rules = Rules(())
        checks = (*CHECKS, *OF_CHECK) if thorough else CHECKS
        found = [finding for check in checks for finding in check(loaded.config)]
        try:
            self.rules = policy.compiled(loaded.config)
        except policy.PolicyError as error:
            found += error.problems
        else:
            found += rules_are_as_expected(loaded.config, self.rules)
        self.problems = tuple(self._problem(key, text) for key, text in found)

    @property
    def ready(self) -> tuple[Config, Rules]:
        """What a server is started with."""
        return self.loaded.config, self.rules

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is allowed and hardly meant; of a configuration without problems alone."""
        if self.problems:
            return ()
        config = self.loaded.config
        found = [
            *audit.warnings(config, self.rules),
            *nobody_can_log_in(config),
            *interfaces_are_there(config),
        ]
        return tuple(self._problem(key, f"warning: {text}") for key, text in found)

    def _problem(self, key: str, text: str) -> Problem:
        return Problem(_origin(self.loaded, key), _label(key), text)


def _label(dotted: str) -> str:
    """`[listen] bind` for "listen.0.bind", `[rule]` for "rule.0", `[sets.office]`."""
    section, *rest = dotted.split(".")
    if section in schema.named():
        return f"[{dotted}]"
    return f"[{section}]" if rest[-1].isdecimal() else f"[{section}] {rest[-1]}"


def _origin(loaded: Loaded, dotted: str) -> Origin:
    """Where a key was set; for a table, where the first of its keys was."""
    inside = (origin for key, origin in loaded.origins.items() if key.startswith(f"{dotted}."))
    return loaded.origins.get(dotted) or next((origin for origin in inside if origin != DEFAULT), DEFAULT)


def account_exists(config: Config) -> Iterator[Finding]:
    """Only root can become somebody else, and only somebody who exists."""
    yield from _can_become("server.user", config.server.user)


def _can_become(key: str, name: str | None) -> Iterator[Finding]:
    if name is None:
        return
    try:
        uid = pwd.getpwnam(name).pw_uid
    except KeyError:
        yield key, f'"{name}" is no account of this machine'
        return
    if os.geteuid() not in (0, uid):
        yield key, f'only root can become "{name}": start as root or leave it out'


def helper_can_run(config: Config) -> Iterator[Finding]:
    """The program is there, and its account exists."""
    if not config.helper.command:
        return
    program = config.helper.command[0]
    if not os.path.isfile(program):
        yield "helper.command", f"{program}: there is no such program"
    elif not os.access(program, os.X_OK):
        yield "helper.command", f"{program}: it is not executable"
    yield from _can_become("helper.user", config.helper.user)


def admin_group_exists(config: Config) -> Iterator[Finding]:
    """The group that the socket is given to."""
    name = config.admin.group
    if name is not None:
        try:
            grp.getgrnam(name)
        except KeyError:
            yield "admin.group", f'"{name}" is no group of this machine'


def gssapi_is_there(config: Config) -> Iterator[Finding]:
    """Its library can be imported, and there is a keytab."""
    if not config.asks_for(AuthMethod.GSSAPI):
        return
    try:
        gss.load()
    except gss.Missing as error:
        yield "gssapi.keytab", str(error)
    if config.gssapi.keytab is not None and not config.gssapi.keytab.is_file():
        yield "gssapi.keytab", f"{config.gssapi.keytab}: there is no such file"


def admin_http_is_possible(config: Config) -> Iterator[Finding]:
    """What serves it is installed."""
    if config.admin.http is not None and (missing := web.missing()):
        yield "admin.http", f"needs {' and '.join(missing)}: {web.REMEDY}"


def relay_is_possible(config: Config) -> Iterator[Finding]:
    """`splice` is asked for by name, where "auto" would copy."""
    if config.server.relay is RelayKind.SPLICE and not kernel.HAS_SPLICE:
        yield "server.relay", 'this system has no splice: use "auto" or "copy"'


def directories_exist(config: Config) -> Iterator[Finding]:
    """Files that will be made need a place."""
    for key, path in _files(config):
        if path is not None and not path.parent.is_dir():
            yield key, f"{path}: there is no directory {path.parent}"


def _files(config: Config) -> list[tuple[str, Path | None]]:
    """What is made, by the key that names it."""
    made = [("server.pidfile", config.server.pidfile)]
    made.append(("admin.socket", config.admin.socket))
    made += [
        (f"listen.{number}.bind", bind.path)
        for number, each in enumerate(config.listen)
        for bind in each.bind
    ]
    if config.log.to.startswith("file:"):
        made.append(("log.to", Path(config.log.to.removeprefix("file:"))))
    return made


def egress_is_ours(config: Config) -> Iterator[Finding]:
    """An address that is not this machine's cannot be the source of its connections."""
    named = [("egress.addresses", each) for each in config.egress.addresses]
    named += [(f"rule.{n}.egress", each) for n, rule in enumerate(config.rule) for each in rule.egress]
    if not named:
        return
    routes = Routes()
    try:
        for key, address in named:
            if not routes.is_own(address):
                yield key, f"{address} is not an address of this machine"
    finally:
        routes.close()


def interfaces_can_be_chosen(config: Config) -> Iterator[Finding]:
    """A rule names an interface, which takes a system where sockets can be bound to one."""
    for number, rule in enumerate(config.rule):
        if rule.interface is not None and linux.SO_BINDTODEVICE is None:
            yield f"rule.{number}.interface", "this system cannot bind connections to an interface"


def interfaces_are_there(config: Config) -> Iterator[Finding]:
    """An interface may come later, as that of a VPN; until then what would leave by it fails."""
    for number, rule in enumerate(config.rule):
        if rule.interface is None:
            continue
        try:
            socket.if_nametoindex(rule.interface)
        except OSError:
            yield f"rule.{number}.interface", f"there is no interface {rule.interface} now"


def users_can_be_read(config: Config) -> Iterator[Finding]:
    """The users file is there, safe from others, and every line of it is right."""
    if config.auth.users is None:
        return
    try:
        fd = users.open_users(config.auth.users, _owners(config))
        try:
            wrong = users.faults(fd, str(config.auth.users))
        finally:
            os.close(fd)
    except users.UsersError as error:
        wrong = [error]
    for each in wrong[:MOST_LINES]:
        yield "auth.users", str(each)
    if len(wrong) > MOST_LINES:
        yield "auth.users", f"{config.auth.users}: and {len(wrong) - MOST_LINES} more lines like these"


def _owners(config: Config) -> frozenset[int]:
    try:
        return privileges.owners(privileges.identity(config.server.user))
    except privileges.NoSuchUser:  # which is another finding
        return privileges.owners(None)


def files_can_be_made(config: Config) -> Iterator[Finding]:
    """What `directories_exist` has a place for can be written there. Nothing is made, nothing is left."""
    for key, path in _files(config):
        if path is None or not path.parent.is_dir():
            continue
        is_socket = key != "server.pidfile" and key != "log.to"
        try:
            if key == "log.to" and os.path.lexists(path):
                os.close(sinks.open_file(path))
            elif path.is_dir():
                yield key, f"{path}: it is a directory"
            elif is_socket and os.path.lexists(path) and not path.is_socket():
                yield key, f"{path}: there is a file of that name that is no socket"
            elif not _can_write(path.parent if is_socket or not path.exists() else path):
                yield key, f"{path}: we may not write there"
        except OSError as error:
            yield key, f"{path}: {error.strerror}"
    if config.log.to == "syslog":
        try:
            sinks.open_sink(config.log.to).close()
        except OSError as error:
            yield "log.to", f"{error.filename}: {error.strerror}"


def bans_can_be_kept(config: Config) -> Iterator[Finding]:
    """The file of bans is ours alone, or can be made. Nothing is made."""
    path = config.auth.lockout.file
    if path is None:
        return
    if found := kept_bans.objection(path, _owners(config)):
        yield "auth.lockout.file", f"{path}: {found}"
    elif not _can_write(path.parent):
        yield "auth.lockout.file", f"{path}: we may not write in {path.parent}"


def _can_write(path: Path) -> bool:
    mode = os.W_OK | os.X_OK if path.is_dir() else os.W_OK
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def descriptors_are_enough(config: Config) -> Iterator[Finding]:
    """The supervisor has both ends of what its children speak through."""
    if told := limits.shortage(config):
        yield "server.workers", told


def nobody_can_log_in(config: Config) -> Iterator[Finding]:
    """A users file without users; it may be meant for a start, and is hardly."""
    if config.auth.users is not None and not users_edit.users(config.auth.users):
        yield "auth.users", f"{config.auth.users} has no users: nobody can log in"


def rules_are_as_expected(config: Config, rules: Rules) -> Iterator[Finding]:
    """Every [[test]] comes out as it says."""
    if not config.test:
        return
    routes = Routes()
    try:
        in_container = container.container_sign(os.environ) is not None
        judge = cases.Judge(config, rules, routes, in_container)
        for number, text in cases.failures(judge, config.test):
            yield f"test.{number}", text
    finally:
        routes.close()


CHECKS = (
    account_exists,
    helper_can_run,
    admin_group_exists,
    gssapi_is_there,
    admin_http_is_possible,
    relay_is_possible,
    directories_exist,
    descriptors_are_enough,
    egress_is_ours,
    interfaces_can_be_chosen,
)
OF_CHECK = (users_can_be_read, files_can_be_made, bans_can_be_kept)
