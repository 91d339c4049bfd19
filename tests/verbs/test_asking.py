from __future__ import annotations

import socket
import threading
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


def test_who_answers_may_be_replaced_meanwhile(tmp_path: Path) -> None:
    """The one that is asked first goes without a word; its successor is asked again."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "admin"))
        listener.listen()

        def answer() -> None:
            listener.accept()[0].close()
            with listener.accept()[0] as asker:
                asker.sendall(b'{"pid": 7}\n{"done": true}\n')

        answering = threading.Thread(target=answer)
        answering.start()
        assert list(ask(tmp_path / "admin", "status")) == [{"pid": 7}]
        answering.join()
