"""`forksocksctl passwd`: who is in the users file, and with which password.

The password never stands on the command line, where everyone on the machine could read it.
"""

from __future__ import annotations

import argparse
import getpass
import os
import stat
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from forksocks.access import users_edit
from forksocks.access.hashes import LONGEST_PASSWORD, hashed
from forksocks.access.users import GROUPS_FORM, LONGEST_NAME, UsersError, encoded_name, read_groups, shown
from forksocks.verbs.verb import Refused, WrongUsage

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - argparse names it nowhere else

_DESCRIPTION = """\
Change the users file: set NAME's password, asking for it twice. A missing file
is made with mode 0600. Comments, order, mode and owner are kept, and a running
server never sees half a file. --groups alone changes the groups of a user who
is there, which rules can name, and no password.
"""

_EXAMPLES = """\
examples:
  forksocksctl passwd /etc/forksocks/users alice
  forksocksctl passwd --stdin /etc/forksocks/users bob < password.txt
  forksocksctl passwd --groups staff,admin /etc/forksocks/users bob
  forksocksctl passwd --delete /etc/forksocks/users bob
  forksocksctl passwd --list /etc/forksocks/users

exit status: 0 done, 1 refused, 2 wrong usage
"""


def register(verbs: Verbs) -> None:
    """Add the verb to the command line."""
    made = verbs.add_parser(
        "passwd",
        help="make, change, delete and list the users of a users file",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    how = made.add_mutually_exclusive_group()
    how.add_argument("--stdin", action="store_true", help="read the password from standard input, one line")
    how.add_argument("--delete", action="store_true", help="delete the user")
    how.add_argument("--list", action="store_true", help="print the names of all users, and their groups")
    made.add_argument(
        "--groups", metavar="GROUP,...", help='the groups that the user is in from now on; "": none'
    )
    made.add_argument("file", metavar="FILE", type=Path, help="the users file")
    made.add_argument("name", metavar="NAME", nargs="?", help="the user, 1 to 255 bytes")
    made.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Do what was asked; Refused or WrongUsage if it cannot be done."""
    path: Path = arguments.file
    if "\0" in str(path):
        raise WrongUsage("a path has no NUL in it")
    try:
        if arguments.groups is not None and (arguments.list or arguments.delete):
            raise WrongUsage("--groups goes with a NAME whose groups are set")
        if arguments.list:
            _list(path, arguments.name)
        elif arguments.delete:
            name = read_name(arguments.name)
            users_edit.delete(path, name)
            _say(f"{encoded_name(name)} deleted from {shown(path)}")
        else:
            groups = _groups(arguments.groups)
            _say(set_password(path, read_name(arguments.name), arguments.stdin, groups))
    except UsersError as error:
        raise Refused(str(error)) from None


def _list(path: Path, name: str | None) -> None:
    if name is not None:
        raise WrongUsage("--list takes no NAME")
    for each, groups in users_edit.users(path).items():
        _say(f"{encoded_name(each)} {','.join(groups)}".rstrip())


def _groups(text: str | None) -> users_edit.Groups | None:
    groups = () if not text else read_groups(text)
    if groups is None:
        raise WrongUsage(f"--groups: {GROUPS_FORM}")
    return None if text is None else groups


def set_password(path: Path, name: bytes, from_stdin: bool, groups: users_edit.Groups | None = None) -> str:
    """Ask for a user's password and set it, or the groups alone of one who is there; return what was done.

    Raises Refused, WrongUsage and UsersError.
    """
    # A file that will be refused: say so before anyone types a password.
    there_already = users_edit.users(path) if os.path.lexists(path) else {}
    if groups is not None and not from_stdin and name in there_already:
        users_edit.regroup(path, name, groups)
        return f"{encoded_name(name)}: groups {','.join(groups) or 'none'} in {shown(path)}"
    password = _piped() if from_stdin else _typed(encoded_name(name))
    if not password:
        raise Refused("the password is empty; it has 1 to 255 bytes")
    if len(password) > LONGEST_PASSWORD:
        raise Refused(
            f"the password has more than {LONGEST_PASSWORD} bytes, which SOCKS cannot carry (RFC 1929)"
        )
    try:
        encoded = hashed(password)
    except MemoryError as error:
        raise Refused(str(error)) from None
    there = users_edit.put(path, name, encoded, groups)
    if _everyone_can_read(path):
        _warn(f"{shown(path)}: everyone can read the hashes; to mend this: chmod o-r {shown(path)}")
    return f"{encoded_name(name)}: password {'changed' if there else 'set'} in {shown(path)}"


def _everyone_can_read(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def read_name(text: str | None) -> bytes:
    """A user's name as it was typed; WrongUsage for none, and for one that SOCKS cannot carry."""
    if text is None:
        raise WrongUsage("NAME is missing")
    name = os.fsencode(text)
    if not 1 <= len(name) <= LONGEST_NAME:
        raise WrongUsage(f"NAME has {len(name)} bytes; it has to have 1 to {LONGEST_NAME} (RFC 1929)")
    return name


def _piped() -> bytes:
    """The one line of standard input."""
    if sys.stdin is None:
        raise Refused("standard input is closed")
    try:
        line = sys.stdin.buffer.readline(LONGEST_PASSWORD + 2) or b""
        # A person who types into --stdin should not have to end it with Ctrl-D.
        more = line.endswith(b"\n") and not sys.stdin.isatty() and sys.stdin.buffer.read(1)
    except OSError as error:
        raise Refused(f"standard input cannot be read ({error.strerror})") from None
    if more:
        raise Refused("standard input has more than one line; the password is one")
    return line.removesuffix(b"\r\n" if line.endswith(b"\r\n") else b"\n")  # a file from Windows as well


def _typed(name: str) -> bytes:
    """What a person types twice, unseen."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise WrongUsage("standard input is no terminal; to read the password from it, say --stdin")
    first = _asked(f"New password for {name}: ")
    if first and _asked("The same again: ") != first:
        raise Refused("the two passwords differ; nothing was changed")
    return first


def _asked(prompt: str) -> bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(prompt).encode("utf-8", "surrogateescape")
    except EOFError:
        raise Refused("no password was typed; nothing was changed") from None
    except UnicodeError:
        raise Refused("the password is not valid UTF-8; --stdin takes any bytes") from None
    except (OSError, getpass.GetPassWarning):
        raise Refused("the terminal cannot be kept from showing the password; say --stdin") from None


def _say(text: str) -> None:
    """A line to standard output, in whatever it can print."""
    data = text.encode(errors="backslashreplace") + b"\n"
    if sys.stdout is not None:
        sys.stdout.buffer.write(data)


def _warn(text: str) -> None:
    print(f"forksocksctl: {text}", file=sys.stderr)
