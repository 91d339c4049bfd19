"""On which line of a TOML document each key and each item of a list stands.

tomllib parses but tells no lines. This walks the same text once more and notes where keys begin. It expects a
document that tomllib has accepted, so it checks nothing; where it errs, an error names a neighbouring line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

# ("listen", 0, "bind"): names of keys and positions in lists.
KeyPath = tuple[str | int, ...]

# TOML 1.0: strings (the multi-line ones first; up to two quotes may touch their end), comments, line ends,
# punctuation; what is left are bare keys, numbers and dates.
_TOKEN = re.compile(
    r'''(?P<string>"""(?:\\[\s\S]|[^\\])*?"""(?:"{0,2})|\'\'\'[\s\S]*?\'\'\'(?:\'{0,2})'''
    r"""|"(?:\\.|[^"\\\n])*"|'[^'\n]*')|(?P<comment>\#[^\n]*)|(?P<end>\n)|(?P<mark>[\[\]{}=,.])"""
    r"""|(?P<bare>[^\s\[\]{}=,.\#"']+)|(?P<blank>[^\S\n]+)"""
)


class _Token(NamedTuple):
    kind: str
    text: str
    line: int
    start: int


def index(document: str) -> Mapping[KeyPath, int]:
    """The line, counted from 1, of every key, table header and list item."""
    walk = _Walk(document)
    walk.document()
    return walk.lines


def _tokens(document: str) -> Iterator[_Token]:
    line = 1
    for found in _TOKEN.finditer(document):
        kind = found.lastgroup or ""
        if kind not in ("comment", "blank"):
            yield _Token(kind, found[0], line, found.start())
        line += found[0].count("\n")
    yield _Token("end", "", line, len(document))


class _Walk:
    """One pass over the tokens; `prefix` is the table that the next keys belong to."""

    def __init__(self, document: str) -> None:
        self.tokens = list(_tokens(document))
        self.position = 0
        self.prefix: KeyPath = ()
        self.lengths: dict[KeyPath, int] = {}  # how many [[tables]] of a name have begun
        self.lines: dict[KeyPath, int] = {}

    @property
    def token(self) -> _Token:
        return self.tokens[min(self.position, len(self.tokens) - 1)]

    def document(self) -> None:
        while self.position < len(self.tokens):
            if self.token.kind == "end":
                self.position += 1
            elif self.token.text == "[":
                self.header()
            else:
                self.pair(self.prefix)

    def header(self) -> None:
        first = self.token
        following = self.tokens[self.position + 1]
        many = following.text == "[" and following.start == first.start + 1
        self.position += 2 if many else 1
        where = self.inside(self.key())
        if many:
            number = self.lengths.get(where, 0)
            self.lengths[where] = number + 1
            self.lines.setdefault(where, first.line)
            where = (*where, number)
        self.prefix = where
        self.lines.setdefault(where, first.line)
        self.skip_to_end()

    def inside(self, names: tuple[str, ...]) -> KeyPath:
        """A header's names as a path: a name of [[tables]] on the way means the last one so far."""
        where: KeyPath = ()
        for name in names[:-1]:
            where = (*where, name)
            if where in self.lengths:
                where = (*where, self.lengths[where] - 1)
        return (*where, names[-1])

    def skip_to_end(self) -> None:
        while self.token.kind != "end":
            self.position += 1

    def key(self) -> tuple[str, ...]:
        """The parts of a key, up to `=` or `]`; a bare key has no spaces, dots stand between parts."""
        parts: list[str] = []
        while self.token.kind in ("bare", "string") or self.token.text == ".":
            if self.token.text != ".":
                quoted = self.token.kind == "string"
                parts.append(tomllib.loads(f"k={self.token.text}")["k"] if quoted else self.token.text)
            self.position += 1
        return tuple(parts) or ("",)

    def pair(self, prefix: KeyPath) -> None:
        line = self.token.line
        where = prefix
        for part in self.key():
            where = (*where, part)
            self.lines.setdefault(where, line)
        self.position += 1  # the "="
        self.value(where)

    def value(self, where: KeyPath) -> None:
        if self.token.text == "[":
            self.items(where)
        elif self.token.text == "{":
            self.inline_table(where)
        else:  # a number or a date may be several tokens
            while self.token.kind != "end" and self.token.text not in {",", "]", "}"}:
                self.position += 1

    def items(self, where: KeyPath) -> None:
        self.position += 1
        number = 0
        while self.position < len(self.tokens) and self.token.text != "]":
            if self.token.kind == "end" or self.token.text == ",":
                self.position += 1
                continue
            self.lines[*where, number] = self.token.line
            self.value((*where, number))
            number += 1
        self.position += 1

    def inline_table(self, where: KeyPath) -> None:
        self.position += 1
        while self.position < len(self.tokens) and self.token.text != "}":
            if self.token.kind == "end" or self.token.text == ",":
                self.position += 1
                continue
            self.pair(where)
        self.position += 1
