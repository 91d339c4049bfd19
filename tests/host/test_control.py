from __future__ import annotations

import os
from pathlib import Path

import pytest

from forksocks.host import control
from tests.machine import open_descriptors


def test_words_texts_and_descriptors_arrive(tmp_path: Path) -> None:
    before = open_descriptors()
    ours, theirs = control.pair()
    (tmp_path / "file").write_text("handed on")
    with ours, theirs, (tmp_path / "file").open() as file:
        assert control.send(ours, "ready")
        assert control.send(ours, "users", "a text of several words", (file.fileno(),))
        assert control.receive(theirs) == ("ready", "", [])
        heard = control.receive(theirs)
        assert heard is not None
        word, text, (descriptor,) = heard
        assert (word, text) == ("users", "a text of several words")
        assert not os.get_inheritable(descriptor)
        with os.fdopen(descriptor) as received:
            assert received.read() == "handed on"
        with pytest.raises(BlockingIOError):
            control.receive(theirs)
    assert open_descriptors() == before


def test_the_others_death_is_heard_and_speaking_to_it_harmless() -> None:
    ours, theirs = control.pair()
    with ours:
        theirs.close()
        assert not control.send(ours, "ready")
        assert control.receive(ours) is None


def test_who_does_not_listen_stops_nobody() -> None:
    ours, theirs = control.pair()
    with ours, theirs:
        sent = 0
        while control.send(ours, "word", "x" * 1000):
            sent += 1
            assert sent < 100_000
        heard = control.receive(theirs)
        assert heard == ("word", "x" * 1000, [])


def test_a_long_text_is_cut() -> None:
    ours, theirs = control.pair()
    with ours, theirs:
        assert control.send(ours, "failed", "x" * 10_000)
        heard = control.receive(theirs)
        assert heard is not None
        assert len(heard[1]) == control.LARGEST - len("failed ")
