from __future__ import annotations

import socket
from pathlib import Path

import pytest

from forksocks.verbs.asking import ask
from forksocks.verbs.verb import NoServer, Refused


@pytest.mark.parametrize(
    ("answer", "error", "why"), [(b'{"error":"not you"}\n', Refused, "not you"), (b"", NoServer, "broke off")]
)
def test_who_is_turned_away_before_the_question_hears_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, error: type[Exception], why: str
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "admin"))
        listener.listen()

        def turn_away(_request: object) -> str:
            with listener.accept()[0] as asker:
                asker.sendall(answer)
            return "too late"

        monkeypatch.setattr("forksocks.verbs.asking.json.dumps", turn_away)
        with pytest.raises(error, match=why):
            list(ask(tmp_path / "admin", "status"))
