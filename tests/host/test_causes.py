from __future__ import annotations

import re

import pytest

from forksocks.config.model import Level
from forksocks.host.causes import Cause


@pytest.mark.parametrize("cause", Cause, ids=lambda cause: cause.value)
def test_a_cause_is_one_word_with_a_sentence_and_a_level(cause: Cause) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cause.value)
    assert re.fullmatch(r"[A-Z][^\n]+\.", cause.meaning)
    assert cause.value == cause.name.lower().replace("_", "-")
    assert Cause(cause.value) is cause
    assert isinstance(cause.level, Level)


def test_what_an_operator_must_see_needs_no_verbose_flag() -> None:
    unasked = {cause for cause in Cause if cause.level <= Level.NOTICE}
    assert {Cause.DENIED, Cause.LIMITED, Cause.CRASHED, Cause.NO_RESOURCES} <= unasked
    assert not {Cause.CLIENT_CLOSED, Cause.IDLE, Cause.REFUSED, Cause.ABANDONED} & unasked
