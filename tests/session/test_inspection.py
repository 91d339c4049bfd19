"""What a worker says of its sessions, and does to them, when the admin process asks."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from forksocks.config.model import AuthMethod, endpoint
from forksocks.host import channels
from forksocks.host.causes import Cause
from forksocks.host.scoreboard.slots import loose
from forksocks.session import inspection
from forksocks.session.life import Session
from forksocks.status.lines import MOST, Lines
from tests.fuzz.session import make_service


@pytest.fixture
def session() -> Iterator[Session]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with client, accepted:
            yield Session(make_service((AuthMethod.NONE,)), "w1-0-1", accepted, None, "client", loose())


def says(session: Session, verb: str, *ids: str) -> dict[str, Any]:
    asked = json.dumps({"verb": verb, "ids": ids}).encode()
    found: dict[str, Any] = json.loads(inspection.answer(asked, [session]))
    return found


def test_only_the_session_that_is_meant_is_ended(session: Session) -> None:
    assert says(session, "end", "w1-0-2", "w2-0-1") == {"ended": []}
    assert session.client.aborted is None
    assert says(session, "end", "w1-0-1", "w1-0-2") == {"ended": ["w1-0-1"]}
    assert session.client.aborted is Cause.ENDED_BY_ADMIN


def test_both_connections_are_told(session: Session) -> None:
    found = says(session, "look", "w1-0-1", "w9-0-1")["w1-0-1"]
    leg = found["legs"]["client"]
    assert leg["local"] == endpoint(*session.client.socket.getsockname())
    assert leg["peer"] == endpoint(*session.client.socket.getpeername())
    assert leg["tcp"]["state"] == "established"
    assert 0 < leg["tcp"]["rtt"] < 60
    assert leg["tcp"]["segment"] >= 500
    assert leg["tcp"]["unsent"] == leg["tcp"]["retransmitted"] == 0
    assert found["rule"] == ""
    session.client.socket.close()
    assert says(session, "look", "w1-0-1")["w1-0-1"]["legs"]["client"]["tcp"] == {}


def test_in_brief_the_rule_and_round_trips(session: Session) -> None:
    found = says(session, "brief", "w1-0-1", "w9-0-1")
    assert found == {
        "w1-0-1": {"rule": "", "rtt": {"client": found["w1-0-1"]["rtt"]["client"], "target": None}}
    }
    assert 0 < found["w1-0-1"]["rtt"]["client"] < 60
    session.client.target, _ = socket.socketpair()
    with session.client.target, _:
        session.client.socket.close()
        assert says(session, "brief", "w1-0-1")["w1-0-1"]["rtt"] == {"client": None, "target": None}


@pytest.mark.parametrize("question", [b"", b"{", b"[]", b"5", b'{"verb":"x","ids":[]}', b'{"verb":"end"}'])
def test_what_is_no_question(session: Session, question: bytes) -> None:
    assert inspection.answer(question, [session]) == b"{}"


def test_many_are_asked_for_in_parts(session: Session) -> None:
    asking, answering = channels.pair()
    ids = [f"w1-0-{number:x}" for number in range(2, 2 + MOST)]
    with asking, answering:
        lines = Lines({1: asking})
        thread = threading.Thread(
            target=channels.serve, args=(answering, lambda asked: inspection.answer(asked, [session]))
        )
        thread.start()
        assert lines.ask(1, "end", [*ids, "w1-0-1"]) == {"ended": ["w1-0-1"]}
        assert lines.ask(2, "end", ids) is None
        asking.shutdown(socket.SHUT_RDWR)
        thread.join(30)
    assert session.client.aborted is Cause.ENDED_BY_ADMIN


def test_lines_to_workers_that_nobody_follows_are_given_back() -> None:
    asking, answering = channels.pair()
    with asking, answering:
        lines = Lines({1: asking})
        lines.forget_the_gone()
        assert asking.fileno() >= 0
        answering.close()
        lines.forget_the_gone()
        assert asking.fileno() < 0
        assert lines.ask(1, "end", ["w1-0-1"]) is None
