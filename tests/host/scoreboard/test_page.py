from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from forksocks.host.scoreboard.page import Page


@pytest.fixture
def page() -> Iterator[Page]:
    made = Page.make(100_000)
    yield made
    made.close()


def test_what_was_written_last_is_read(page: Page) -> None:
    assert page.read() == b""
    for text in (b"one", b"a longer one", b"", b"x" * 100_000):
        page.write(text)
        assert page.read() == text


def test_a_reader_never_sees_a_mixture(page: Page) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                for letter in b"abc":
                    page.write(bytes([letter]) * 50_000)
        finally:
            os._exit(1)
    try:
        seen = {frozenset(page.read()) for _ in range(3000)}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert seen <= {frozenset(), frozenset(b"a"), frozenset(b"b"), frozenset(b"c")}


def test_a_writer_that_died_in_the_middle_leaves_nothing_to_read(page: Page) -> None:
    page.write(b"before")
    page.writable[0:8] = (3).to_bytes(8, "little")
    assert page.read() == b""
    page.write(b"after")
    assert page.read() == b"after"


def test_a_page_that_lies_breaks_no_reader(page: Page) -> None:
    page.writable[:16] = b"\xfe" * 16
    assert page.read() == b""
