"""What a bug report may tell of a server without telling whose it is.

What is not known to be harmless is replaced, whatever it is: texts by a keyed hash, so that the same user,
address or name is the same word throughout one dump, and no guess can be tried on it without its key, which
nobody keeps. Numbers, states, causes and ports stay.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

# Fields of answers that hold a word of the program's own, or a number as text.
HARMLESS = frozenset(
    (
        "kind", "version", "state", "id", "command", "way", "cause", "meaning", "action", "per", "by", "mode",
        "holds", "missing", "socks", "reply", "configured", "level", "new",
    )
)  # fmt: skip
# Objects whose own keys say what was counted.
COUNTS = frozenset(("states", "deaths", "commands", "logins", "ends"))
# Of a setting's key the name that an operator gave, and the key itself.
_NAMED = re.compile(
    r"(listen|rule|sets|limit|test)\.(.*?)\.((?:(?:timeouts|udp|bind_command|given)\.)?[a-z_]+)"
)
# Values of settings that tell nothing: numbers, times, sizes, rates, and these keys' words.
_PLAIN = re.compile(
    r'not set|\[\]|true|false|"?[0-9]+(\.[0-9]+)?[A-Za-z]{0,3}"?|"[0-9]+/[a-z0-9]+( burst [0-9]+)?"'
)
_WORDS = frozenset(
    (
        "accept", "action", "auth", "commands", "families", "format", "fragments", "level", "lock", "log",
        "new", "per", "protection", "protocols", "relay", "sandbox", "workers",
    )
)  # fmt: skip
FIRST = 4  # characters of a client's first bytes in hex


class Anonymous:
    """Replaces; the key is made for one dump and forgotten with it."""

    def __init__(self) -> None:
        self._key = os.urandom(16)

    def object(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """An object of an answer, told so."""
        return {name: self._value(name, value) for name, value in found.items()}

    def setting(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """One of `settings`: a dotted key, in which there may be a name, and its value in TOML."""
        key, value = str(found["key"]), str(found["value"])
        named = _NAMED.fullmatch(key)
        last = key.rpartition(".")[2]
        if named is not None:
            key = f"{named[1]}.{self.word(named[2])}.{named[3]}"
        if key.endswith(" order"):
            value = " ".join(map(self.word, value.split())) if value != "not set" else value
        elif not (_PLAIN.fullmatch(value) or (last in _WORDS and key != "log.to")):
            value = self.word(value)
        return {"key": key, "value": value}

    def word(self, text: str) -> str:
        """What stands for a text; "" for none."""
        if not text:
            return ""
        return "x" + blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=5).hexdigest()

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return value if name in COUNTS else self.object(value)
        if isinstance(value, list):
            return [self._value(name, each) for each in value]
        if not isinstance(value, str) or name in HARMLESS:
            return value
        if name == "first":
            return value[:FIRST]
        if name == "when":
            return ", ".join(re.findall(r"(?:^|, )([a-z]+) = ", value))
        host, colon, port = value.rpartition(":")
        return f"{self.word(host)}:{port}" if colon and port.isdecimal() else self.word(value)
