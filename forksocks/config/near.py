"""What was probably meant by a word that nobody knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known word that `word` was probably meant to be; `likeness` 1 is the word itself."""
    near = difflib.get_close_matches(word[:64].lower(), list(known), n=1, cutoff=likeness)
    return near[0] if near else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`; did you mean "backlog"?`, or nothing where no known word is near."""
    near = nearest(word, known) if isinstance(word, str) else None
    return f'; did you mean "{near}"?' if near else ""
