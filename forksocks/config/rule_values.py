"""How the values of rules, sets and tests are written; the rules for a parser are those of `values`."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from forksocks.config import values
from forksocks.config.model import DAYS, Address, Ports, Rate, Selector, Window
from forksocks.config.values import Wrong, must_be

LONGEST_USER = 255  # bytes, RFC 1929 section 2
LONGEST_NAME = 253  # bytes, RFC 1035 section 2.3.4

_SET = re.compile(r"@[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_NAME = re.compile(r"\.?(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*")
_WINDOW = re.compile(r"(?:([a-z,-]+) )?([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_EXPECTED = re.compile(r"(allow|deny|drop|report)(?: (\S+))?")
GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
"""The name of a group of users."""
_RATE = re.compile(r"([0-9]{1,9})/([smhd])(?: burst ([0-9]{1,9}))?")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# What dev_valid_name() of Linux takes, in ASCII: 15 bytes without "/", ":" and space, not "." and "..".
_INTERFACE = re.compile(r"(?!\.\.?$)[!-.0-9;-~]{1,15}")
_PORT = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def client(value: object, base: Path) -> Selector:
    """Whom a rule is for: a network, an address, "@set" or "file:PATH"."""
    return _reference(value, base) or values.network(
        value, 'a network as "192.0.2.0/24", "@set" or "file:/path"'
    )


def host(value: object, base: Path) -> Selector:
    """Where to: a network, a name, ".domain" for whatever is below it, "@set" or "file:PATH"."""
    referred = _reference(value, base)
    if referred:
        return referred
    allowed = 'a network, a name as "www.example.com", ".example.com", "@set" or "file:/path"'
    return entry(values.text(value, allowed), allowed)


def entry(text: str, allowed: str) -> Selector:
    """A network, or a name, lowered and without its final dot; what looks like a number is no name."""
    name = text.lower().removesuffix(".")
    last = name.rpartition(".")[2]
    if len(name) <= LONGEST_NAME and _NAME.fullmatch(name) and not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last):
        return name
    return values.network(text, allowed)


def user(value: object, base: Path) -> str:
    """A user's name, "@set" or "file:PATH"."""
    name = _reference(value, base) or values.text(value, 'a user\'s name, "@set" or "file:/path"')
    if len(name.encode()) > LONGEST_USER and not name.startswith("file:"):
        raise Wrong(f"{values.shown(name)} is longer than {LONGEST_USER} bytes (RFC 1929)")
    return name


def group(value: object) -> str:
    """A group of the users file, or "@set"."""
    if isinstance(value, str) and (_SET.fullmatch(value) or GROUP.fullmatch(value)):
        return value
    raise must_be('a group of the users file as "staff", or "@set"', value)


def plain_group(value: object) -> str:
    """A group of the users file."""
    if isinstance(value, str) and GROUP.fullmatch(value):
        return value
    raise must_be('a group of the users file as "staff"', value)


def _reference(value: object, base: Path) -> str | None:
    if isinstance(value, str) and value.startswith("@"):
        if not _SET.fullmatch(value):
            raise must_be('a set as "@office"', value)
        return value
    if isinstance(value, str) and value.startswith("file:"):
        return f"file:{values.path(value[5:], base)}"
    return None


def ports(value: object) -> Ports:
    """A port or a range: 443, "443", "8000-8999"."""
    allowed = 'a port or a range of ports as 443 or "8000-8999"'
    found = None if isinstance(value, bool) else _PORT.fullmatch(str(value))
    if not found:
        raise must_be(allowed, value)
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last <= 65535:
        raise must_be(allowed, value)
    return Ports(first, last)


def ports_or_set(value: object) -> Ports | str:
    """The same, or "@set"."""
    if isinstance(value, str) and _SET.fullmatch(value):
        return value
    return ports(value)


def rate(value: object) -> Rate:
    """How often: "50/s", "50/s burst 100"; without a burst as many as in one of its units."""
    allowed = 'a rate as "50/s", "300/m" or "50/s burst 100"'
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise must_be(allowed, value)
    number, burst = int(found[1]), int(found[3] or found[1])
    if not number or not burst:
        raise must_be(allowed, value)
    return Rate(number / SECONDS[found[2]], burst)


def window(value: object) -> Window:
    """Hours and days: "08:00-18:00", "mon-fri 08:00-18:00", "sat,sun 00:00-24:00"."""
    allowed = 'hours as "08:00-18:00", "mon-fri 08:00-18:00" or "sat,sun 22:00-06:00"'
    found = _WINDOW.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise must_be(allowed, value)
    days = tuple(range(7)) if found[1] is None else _days(found[1])
    start, end = int(found[2]) * 60 + int(found[3]), int(found[4]) * 60 + int(found[5])
    minutes_are_right = int(found[3]) < 60 and int(found[5]) < 60
    if not days or not minutes_are_right or not start < 24 * 60 or not 0 < end <= 24 * 60 or start == end:
        raise must_be(allowed, value)
    return Window(days, start, end)


def _days(text: str) -> tuple[int, ...]:
    """`mon-fri,sun` as numbers; () if it is no such list."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            return ()
        start, end = DAYS.index(first), DAYS.index(last or first)
        found.update(day % 7 for day in range(start, end + 1 if end >= start else end + 8))
    return tuple(sorted(found))


def destination(value: object) -> str:
    """Where a test asks for: HOST:PORT, [V6]:PORT."""
    allowed = 'a destination as "example.com:443", "192.0.2.7:22" or "[2001:db8::7]:80"'
    text = values.text(value, allowed)
    split_destination(text, allowed)
    return text


def split_destination(text: str, allowed: str = "HOST:PORT") -> tuple[Selector, int]:
    """The host, a name or one address as a network of it, and the port. Raises Wrong."""
    written, colon, port = text.rpartition(":")
    bracketed = written.startswith("[") and written.endswith("]")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) <= 65535 or written[:1] == ".":
        raise must_be(allowed, text)
    if (":" in written) != bracketed or "/" in written:
        raise must_be(allowed, text)
    return entry(written[1:-1] if bracketed else written, allowed), int(port)


def address(value: object) -> Address:
    """Any one address, without a zone."""
    try:
        if isinstance(value, str) and "%" not in value:
            return ipaddress.ip_address(value)
    except ValueError:
        pass
    raise must_be('an address as "192.0.2.7" or "2001:db8::7"', value)


def interface(value: object) -> str:
    """The name of a network interface, which may come and go."""
    if isinstance(value, str) and _INTERFACE.fullmatch(value):
        return value
    raise must_be('the name of a network interface as "wg0"', value)


def expected(value: object) -> str:
    """What a test expects: an action, and perhaps the rule or the set that is the reason."""
    if not isinstance(value, str) or not _EXPECTED.fullmatch(value):
        raise must_be('"allow", "deny" or, to name the reason, "deny no-smtp" or "deny @loopback"', value)
    return value
