"""Fields to one line of printable ASCII, as text or JSON.

Whatever a field holds, the result is one line that no terminal, no grep and no fail2ban filter can
misread: a text value that holds anything but plain characters is quoted, and every byte outside [ -~]
is written as \\xNN (a string's UTF-8 bytes). This runs for every session, so it is a loop over tests of
type and not something more general.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

Field = str | int | float | bytes | None

LONGEST_TEXT = 2048  # characters, the newline not counted
# A pipe takes writes up to PIPE_BUF (4,096 on Linux, pipe(7)) whole or not at all, so that the lines of
# several processes do not mix; JSON needs more room than text for the same fields.
LONGEST_JSON = 4000
MARK = "..."  # ends what was cut

_is_plain = re.compile(r"[!#-<>-\[\]-~]+").fullmatch  # [!-~] without " = and backslash
_QUOTED = [chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in range(256)]
_QUOTED[ord('"')] = '\\"'
_QUOTED[ord("\\")] = "\\\\"
_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


def text(event: str, fields: Mapping[str, Any]) -> str:
    """`event key=value ...` in the fields' order, without those that are None; not yet cut to length.

    The values are `Field`s; typed Any because tests of the exact type are fast and tell a checker nothing.
    """
    parts = [event]
    for key, value in fields.items():
        kind = type(value)
        if kind is str:
            parts.append(f"{key}={value}" if _is_plain(value) else f"{key}={_quote(value)}")
        elif kind is int:
            parts.append(f"{key}={value}")
        elif kind is float:
            parts.append(f"{key}={_duration(value)}")
        elif value is not None:
            parts.append(f"{key}={_seldom(value)}")
    return " ".join(parts)


def cut(line: str, longest: int = LONGEST_TEXT) -> str:
    """The line itself, or its beginning with "..." where it is longer than `longest` characters."""
    return line if len(line) <= longest else line[: longest - len(MARK)] + MARK


def as_json(time: str, level: str, event: str, fields: Mapping[str, Field]) -> str:
    """The same fields as one JSON object of at most LONGEST_JSON characters; durations are in seconds.

    An object that would be longer has its long strings cut to end in "..." so that it still parses.
    """
    values: dict[str, object] = {"time": time, "level": level, "event": event}
    values.update((key, _json_value(value)) for key, value in fields.items() if value is not None)
    line = _dumps(values)
    longest = LONGEST_JSON // 4
    while len(line) > LONGEST_JSON and longest > len(MARK):
        values = {key: cut(item, longest) if isinstance(item, str) else item for key, item in values.items()}
        line = _dumps(values)
        longest //= 2
    if len(line) > LONGEST_JSON:
        line = _dumps({"time": time, "level": level, "event": cut(event, 64)})
    return line


def _quote(value: str | bytes) -> str:
    """In double quotes, every byte outside [ -~] as backslash x."""
    return '"' + "".join([_QUOTED[byte] for byte in _as_bytes(value)]) + '"'


def _as_bytes(value: str | bytes) -> bytes:
    """UTF-8, and the bytes that the system gave where a string stands for some that were not (PEP 383)."""
    if isinstance(value, bytes):
        return value
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")


def _duration(seconds: float) -> str:
    if -0.9995 < seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.3f}".removesuffix(".000") + "s"


def _seldom(value: object) -> str:
    """What is not exactly a str, int or float: bytes, truth values, what was handed over by mistake."""
    if isinstance(value, bytes):
        decoded = value.decode("ascii", "replace")  # U+FFFD is not plain
        return decoded if _is_plain(decoded) else _quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    shown = str(value)
    return shown if _is_plain(shown) else _quote(shown)


def _json_value(value: Field) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return value if value.isascii() else _as_bytes(value).decode("utf-8", "backslashreplace")
    return value if isinstance(value, int) else str(value)
