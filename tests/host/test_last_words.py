from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

import pytest

from forksocks.host import kernel
from forksocks.host.last_words import MOST_LINES, SPEAK_AND_DIE, LastWords


def dying(words: LastWords, die: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        kernel.refuse_core_dumps()
        words.prepare()
        die()
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(
    ("die", "number", "says"),
    [
        (lambda: os.kill(os.getpid(), SPEAK_AND_DIE), signal.SIGABRT, "Aborted"),
        (lambda: ctypes.string_at(0), signal.SIGSEGV, "Segmentation fault"),
    ],
    ids=["told to", "fault"],
)
def test_whoever_dies_says_where(die: Callable[[], object], number: int, says: str) -> None:
    words = LastWords()
    try:
        assert dying(words, die) == -number
        said = words.hear()
        assert says in said[0]
        assert any("test_last_words.py" in line for line in said)
        assert len(said) <= MOST_LINES
        assert words.hear() == []
    finally:
        words.close()


def test_whoever_is_killed_says_nothing() -> None:
    words = LastWords()
    try:
        assert dying(words, lambda: os.kill(os.getpid(), signal.SIGKILL)) == -signal.SIGKILL
        assert words.hear() == []
    finally:
        words.close()


def test_more_than_is_heard_is_cut() -> None:
    words = LastWords()
    try:
        os.write(words.fileno(), b"line\n\n" * (2 * MOST_LINES))
        assert words.hear() == ["line"] * MOST_LINES
        os.write(words.fileno(), b"\xff\x1b]0;x\n")
        assert words.hear()[0].isascii()
    finally:
        words.close()
