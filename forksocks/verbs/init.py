"""`forksocksctl init`: a configuration to begin with, commented, which passes `--check`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from forksocks import preflight
from forksocks.access import users_edit
from forksocks.access.users import UsersError
from forksocks.config import values
from forksocks.config.load import ConfigError, load_text
from forksocks.config.model import Network
from forksocks.config.values import Wrong
from forksocks.host.terminal import printable
from forksocks.verbs import passwd
from forksocks.verbs.verb import Refused, WrongUsage

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

FILE = Path("forksocks.toml")
USERS = "users"  # the file beside it
_DESCRIPTION = """\
Write a configuration to begin with, commented, that passes --check: served is
this machine, with --lan also a network, and with --user only who has a
password, which is asked for twice. A file that is there is left alone.
"""
_EPILOG = """\
  forksocksctl init --lan 10.0.0.0/8 --user alice
  forksocks -c forksocks.toml
exit status: 0 done, 1 refused, 2 wrong usage"""


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "init", help="write a configuration to begin with", description=_DESCRIPTION, epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = made.add_argument
    add("--lan", metavar="NET", action="append", default=[], help="a network whose clients are served")
    add("--user", metavar="NAME", help=f"a user, whose password goes into the file `{USERS}` beside it")
    add("--stdin", action="store_true", help="read that password from standard input, one line")
    add("--json", action="store_true", help="print one object")
    add("file", metavar="FILE", nargs="?", type=Path, default=FILE, help=f"({FILE})")
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write it, and say what comes next; Refused or WrongUsage if that cannot be."""
    path: Path = arguments.file
    networks = [_network(text, has_passwords=arguments.user is not None) for text in arguments.lan]
    if "\0" in str(path):
        raise WrongUsage("a path has no NUL in it")
    if arguments.stdin and arguments.user is None:
        raise WrongUsage("--stdin goes with --user")
    if os.path.lexists(path):
        raise Refused(f"{path} is there already, and is left as it is")
    users = None if arguments.user is None else path.parent / USERS
    if users is not None:
        _add(users, arguments.user, arguments.stdin)
    text = written(networks, arguments.user)
    _check(text, path)
    try:
        with path.open("x") as file:
            file.write(text)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from None
    if arguments.json:
        made = {"file": str(path), "users": None if users is None else str(users)}
        sys.stdout.write(json.dumps(made) + "\n")
        return
    name = printable(str(path))
    sys.stdout.write(f"wrote {name}; it says what can be changed, and forksocks -c {name} serves by it\n")


def written(networks: Sequence[Network], user: str | None) -> str:
    """The text of a configuration for clients of these networks, with passwords if there is a user."""
    parts = [HEAD, _listener(networks, user)]
    if user is not None:
        parts.append(USERS_FILE)
    parts += [_rules(networks, user), REST]
    return "\n".join(parts)


def _listener(networks: Sequence[Network], user: str | None) -> str:
    bind, where = (":1080", EVERY_ADDRESS) if networks else ("127.0.0.1:1080", LOOPBACK)
    auth = 'auth = ["none"]' if user is None else 'auth = ["password"]'
    served = ", ".join(f'"{each}"' for each in ("@loopback", *networks))
    return LISTENER.format(where=where, bind=bind, auth=auth, served=served)


def _rules(networks: Sequence[Network], user: str | None) -> str:
    client = str(next(iter(networks[0].hosts()), networks[0][0])) if networks else "127.0.0.1"
    name = user if user is not None and user.isascii() and user.isprintable() else "somebody"
    who = f'client = "{client}"' + ("" if user is None else f", user = {json.dumps(name)}")
    return RULES.format(who=who)


def _network(text: str, has_passwords: bool) -> Network:
    try:
        found = values.network(text, 'a network as "10.0.0.0/8"')
    except Wrong as error:
        raise WrongUsage(f"--lan {error}") from None
    if not has_passwords and not found.is_private:
        raise WrongUsage(f"--lan {found} is not private: whom nobody knows needs a password, --user NAME")
    return found


def _add(users: Path, user: str, from_stdin: bool) -> None:
    """See that the user is there; whoever is already keeps his password."""
    name = passwd.read_name(user)
    try:
        if not os.path.lexists(users) or name not in users_edit.users(users):
            passwd.set_password(users, name, from_stdin)
    except UsersError as error:
        raise Refused(str(error)) from None


def _check(text: str, path: Path) -> None:
    """Raise Refused where `--check` would: what is written can be served by."""
    try:
        problems = preflight.Preflight(load_text(text, str(path), path.parent.absolute()), True).problems
    except ConfigError as error:
        problems = error.problems
    if problems:
        raise Refused("\n".join(["this would not serve here:", *map(str, problems)]))


HEAD = """\
# forksocks.toml, made by `forksocksctl init`; forksocks.toml(5) has every setting.
#
#   forksocks -c FILE --check    says what is wrong with it
#   forksocks -c FILE            serves by it; SIGHUP has it read again
#
# Relative paths start at this file's directory.
"""
EVERY_ADDRESS = (
    "# Every address of this machine, IPv4 and IPv6; name one, as in 192.0.2.1:1080, to be there alone."
)
LOOPBACK = '# This machine alone; ":1080" is every address that it has.'
LISTENER = """\
[[listen]]
{where}
bind = ["{bind}"]
# "none", "password" (see [auth]) or "gssapi", the server's favourite first.
{auth}

[access]
# Who is served. Everyone else is refused, with a password too.
allow_from = [{served}]
# What may be reached beyond the public internet. This machine, its networks and private addresses are refused
# unless they are listed here.
allow_to = []
"""
USERS_FILE = f"""\
[auth]
# Names and password hashes; forksocksctl passwd {USERS} NAME changes them, and a server notices by itself.
users = "{USERS}"
"""
RULES = """\
# The first rule that fits decides; where none fits the answer is no. A rule can name clients, users, groups,
# destinations, ports, commands and times. action = "report" tries one out: it allows, and logs what it would
# deny.
[[rule]]
name = "no-mail"
ports = [25]
action = "deny"

[[rule]]
name = "rest"
action = "allow"

# Tried by --check and at every start; one that fails prevents it.
[[test]]
given = {{ {who}, to = "mail.example.com:25" }}
expect = "deny no-mail"

# Counted over all workers; per user, or per address with per = "address".
# [limit.person]
# per = "user"
# connections = 200
"""
REST = """\
[log]
# "notice" has refusals, "info" a line for each session too. to = "file:forksocks.log" in place of stderr.
level = "notice"

[admin]
# Where forksocksctl asks: forksocksctl status --socket admin.sock
socket = "admin.sock"
"""
