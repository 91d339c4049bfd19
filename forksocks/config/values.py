"""How single values are written in the file and on the command line, and how they are written back.

A parser takes what TOML gave and returns the value, or raises `Wrong` with a sentence that says what is
allowed. It knows neither files nor keys: who asked adds those. Writers return TOML that parses back.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TypeVar

from forksocks.config.model import Address, Level, Network, Ports, Size, usual_workers
from forksocks.config.near import did_you_mean
from forksocks.config.sets import SETS

T = TypeVar("T")
E = TypeVar("E", bound=Enum)

MILLISECONDS: Mapping[str, int] = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}

BYTES: Mapping[str, int] = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
LARGEST = 1 << 50

# poll(2) takes milliseconds in a signed 32-bit number: 24.8 days.
LONGEST = 24 * 86_400.0
LOWEST_PORT = 1024  # below it are the ports that people take for a service of this machine
SHOWN = 60  # a wrong value is quoted in the error up to here


class Wrong(ValueError):
    """A value that is not allowed; `items` are (position in the list or None, what is wrong)."""

    def __init__(self, text: str, items: Sequence[tuple[int | None, str]] = ()) -> None:
        super().__init__(text)
        self.items = tuple(items) or ((None, text),)


def quoted(text: str) -> str:
    """`text` as a TOML basic string; what a terminal could mistake for something else is escaped."""
    special = {'"': '\\"', "\\": "\\\\"}
    return '"' + "".join(special.get(c) or (c if c.isprintable() else _escaped(c)) for c in text) + '"'


def readable(text: str) -> str:
    """`text` as it is, or quoted where a terminal could mistake it for something else."""
    return text if text.isprintable() else quoted(text)


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no UTF-8, as os.fsdecode has it (PEP 383)
        return f"\\x{number - 0xDC00:02x}"
    return f"\\u{number:04X}" if number <= 0xFFFF else f"\\U{number:08X}"


def shown(value: object) -> str:
    """A wrong value, for an error: short, on one line, strings in quotes."""
    if isinstance(value, str):
        return quoted(value if len(value) <= SHOWN else value[:SHOWN] + "...")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a table"
    try:
        text = str(value)
    except ValueError:  # int(): more digits than sys.get_int_max_str_digits
        return "a number too long to show"
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def must_be(allowed: str, value: object, words: Iterable[str] = ()) -> Wrong:
    """The usual sentence: what is allowed, what was found, and which of the `words` was probably meant."""
    return Wrong(f"must be {allowed}, not {shown(value)}{did_you_mean(value, words)}")


def text(value: object, allowed: str = "a text") -> str:
    """A text that is not empty, can be written to a UTF-8 file, and has no NUL."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise must_be(allowed, value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Wrong(f"must be {allowed} in UTF-8, not {shown(value)}") from None
    return value


def _matched(pattern: str, allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise must_be(allowed, value)
        return value

    return parse


name = _matched(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", "a name of 1 to 32 letters, digits, . _ -")
account = _matched(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}", "the name of an account of this machine")


def flag(value: object) -> bool:
    """`true` or `false`."""
    if not isinstance(value, bool):
        raise must_be("true or false", value)
    return value


def count(value: object, least: int, most: int, also: str = "") -> int:
    """A whole number within limits; `also` names what else the key takes, for the error."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        wrong = must_be(f"{also}a whole number from {least} to {most}", value)
        raise Wrong(f"{wrong}: leave out the quotes") if _is_quoted_number(value) else wrong
    return value


def _is_quoted_number(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) is not None


def workers(value: object) -> int:
    """How many processes: a number, or "auto"."""
    if value != "auto":
        return count(value, 1, 1024, '"auto" (twice the cores) or ')
    return usual_workers()


def _quantity(value: object, units: Mapping[str, int], allowed: str) -> int:
    found = re.fullmatch(r"([0-9]{1,15}) ?([A-Za-z]+)", value) if isinstance(value, str) else None
    if found is None or found[2] not in units:
        raise must_be(allowed, value)
    return int(found[1]) * units[found[2]]


def duration(value: object, least: float = 0.001) -> float:
    """A time in seconds: a whole number and ms, s, m, h or d, at most 24 days."""
    allowed = 'a time as "250ms", "10s", "5m", "1h" or "2d"'
    seconds = _quantity(value, MILLISECONDS, allowed) / 1000
    if not least <= seconds <= LONGEST:
        raise must_be(f"a time from {show_duration(least)[1:-1]} to 24d", value)
    return seconds


def size(value: object, least: int = 1) -> Size:
    """A number of bytes: a whole number and B, KiB, MiB or GiB."""
    found = _quantity(value, BYTES, 'a size as "64KiB", "512MiB" or "2GiB"')
    if not least <= found <= LARGEST:
        raise must_be(f"a size from {show_size(least)[1:-1]} to {show_size(LARGEST)[1:-1]}", value)
    return Size(found)


def choice(value: object, kind: type[E]) -> E:
    """A member of `kind` by its value; numbers may be written without quotes (`families = 4`)."""
    words = {str(member.value): member for member in kind}
    word = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(word, str) or word not in words:
        raise must_be(one_of(words), value, words)
    return words[word]


def level(value: object) -> Level:
    """How much is logged, by name."""
    words = {member.name.lower(): member for member in Level}
    if not isinstance(value, str) or value not in words:
        raise must_be(one_of(words), value, words)
    return words[value]


def one_of(words: Mapping[str, object]) -> str:
    """`"a", "b" or 4`."""
    *most, last = (word if word.isdigit() else quoted(word) for word in words)
    return f"{', '.join(most)} or {last}" if most else last


def path(value: object, base: Path) -> Path:
    """A path; a relative one starts at `base`, because a daemon's own directory is `/`."""
    return base / text(value, "a path")


def log_target(value: object, base: Path) -> str:
    """`stderr`, `syslog` or `file:PATH`; the path comes back absolute."""
    allowed = '"stderr", "syslog" or "file:/path"'
    where = text(value, allowed)
    if where in ("stderr", "syslog"):
        return where
    if not where.startswith("file:") or where == "file:":
        wrong = must_be(allowed, value)
        raise Wrong(f"{wrong}: write {quoted(f'file:{where}')}") if "/" in where else wrong
    return f"file:{path(where[5:], base)}"


def address(value: object) -> Address:
    """One IPv4 or IPv6 address of this machine, without a zone."""
    try:
        found = ipaddress.ip_address(value) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        found = None
    if found is None or found.is_unspecified or found.is_multicast:
        raise must_be('an address of this machine as "192.0.2.7" or "2001:db8::7"', value)
    return found


def own_ports(value: object) -> Ports:
    """A range of ports that need no privilege: "40000-40999"."""
    found = re.fullmatch(r"([0-9]{4,5})-([0-9]{4,5})", value) if isinstance(value, str) else None
    if found is None or not LOWEST_PORT <= int(found[1]) <= int(found[2]) <= 65535:
        raise must_be(f'a range of ports from {LOWEST_PORT} to 65535 as "40000-40999"', value)
    return Ports(int(found[1]), int(found[2]))


def selector(value: object) -> str | Network:
    """Who or what: a network, one address, or the name of a set."""
    sets = " ".join(sorted(SETS))
    allowed = f'a network as "192.0.2.0/24", an address, or one of {sets}'
    if isinstance(value, str) and value.startswith("@"):
        if value not in SETS:
            raise must_be(f"one of {sets}", value, SETS)
        return value
    if isinstance(value, str) and f"@{value}" in SETS:
        raise Wrong(f'{must_be(allowed, value)}; did you mean "@{value}"?')
    return network(value, allowed)


def network(value: object, allowed: str) -> Network:
    """One network or address; `allowed` says what else may stand there, for the error."""
    if not isinstance(value, str):
        raise must_be(allowed, value)
    try:
        found = ipaddress.ip_network(value, strict=False)
        exact = "/" not in value or ipaddress.ip_address(value.split("/")[0]) == found.network_address
    except ValueError:
        raise must_be(allowed, value) from None
    if "%" in value or (found.version == 6 and found.network_address.ipv4_mapped is not None):
        raise must_be("written as IPv4 where it is IPv4, and without a zone", value)
    if not exact:
        raise Wrong(f'{shown(value)} names an address and a network: write "{found}" or leave out the /')
    return found


def items(value: object, parse: Callable[[object], T]) -> tuple[T, ...]:
    """A list, each item by `parse`; all of its problems at once, with their positions."""
    if not isinstance(value, list):
        example = f": write [{shown(value)}]" if isinstance(value, str) else ""
        raise Wrong(f"must be a list, not {shown(value)}{example}")
    found: list[T] = []
    wrong: list[tuple[int | None, str]] = []
    for position, each in enumerate(value):
        try:
            found.append(parse(each))
        except Wrong as error:
            wrong.append((position, str(error)))
    if wrong:
        raise Wrong("; ".join(problem for _, problem in wrong), wrong)
    return tuple(found)


def command(value: object) -> tuple[str, ...]:
    """A program and its arguments, the program by its whole path: nothing is looked up, no shell reads it."""
    words = items(value, text)
    if words and not words[0].startswith("/"):
        raise must_be(
            'a program and its arguments, as ["/usr/lib/squid/basic_ldap_auth", "-b", ...]', words[0]
        )
    return words


def show_duration(seconds: float) -> str:
    """A time in its largest whole unit: `"5m"`."""
    milliseconds = round(seconds * 1000)
    unit = next((u for u, each in MILLISECONDS.items() if milliseconds and not milliseconds % each), "s")
    return quoted(f"{milliseconds // MILLISECONDS[unit]}{unit}")


def show_size(size: int) -> str:
    """A number of bytes in its largest whole unit: `"512MiB"`."""
    unit = next(unit for unit, each in BYTES.items() if not size % each)
    return quoted(f"{size // BYTES[unit]}{unit}")


def show(value: object) -> str:
    """Any value of the model but None, in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(show(each) for each in value) + "]"
    if isinstance(value, Level):
        return quoted(value.name.lower())
    if isinstance(value, Enum):
        return quoted(str(value.value))
    if isinstance(value, float):
        return show_duration(value)
    if isinstance(value, Size):
        return show_size(value)
    return str(value) if isinstance(value, int) else quoted(str(value))
