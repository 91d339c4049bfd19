from __future__ import annotations

import os

import pytest

from forksocks.host import dialled
from forksocks.host.dialled import RECENT, Dialled


def test_what_was_dialled_from_is_known_and_nothing_else() -> None:
    made = Dialled()
    assert not made.knows("127.0.0.1:40000")
    made.note("127.0.0.1:40000")
    assert made.knows("127.0.0.1:40000")
    assert not made.knows("127.0.0.1:40001")
    assert not made.knows("127.0.0.2:40000")
    assert not made.knows("unix")
    assert not any(made.knows(f"[::1]:{port}") for port in range(50_000))


def test_all_who_were_forked_later_see_it() -> None:
    made = Dialled()
    pid = os.fork()
    if not pid:
        made.note("[2001:db8::1]:40000")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert made.knows("[2001:db8::1]:40000")


def test_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Dialled()
    monkeypatch.setattr(dialled, "monotonic", lambda: 1000.5)
    made.note("127.0.0.1:40000")
    monkeypatch.setattr(dialled, "monotonic", lambda: 1000.0 + RECENT - 1)
    assert made.knows("127.0.0.1:40000")
    monkeypatch.setattr(dialled, "monotonic", lambda: 1000.0 + RECENT)
    assert not made.knows("127.0.0.1:40000")
