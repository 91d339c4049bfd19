"""A worker that was taken over says anything at all to the lookup agent; the channel outlives it."""

from __future__ import annotations

import socket
import threading

import pytest

from forksocks.config.model import Families
from forksocks.host import channels
from forksocks.host.channels import HELLO, TAG, Channel, serve
from forksocks.host.deadline import Deadline
from forksocks.traffic import resolve


@pytest.mark.parametrize(
    "packet", [b"", b"x", bytes(TAG), b"\xff" * 5000], ids=["empty", "short", "tag", "long"]
)
def test_what_is_no_question_ends_no_channel(packet: bytes) -> None:
    asking, answering = channels.pair()
    thread = threading.Thread(target=serve, args=(answering, bytes.upper))
    thread.start()
    with answering, asking:
        asking.settimeout(60)
        assert asking.recv(100) == HELLO
        asking.send(packet)
        assert Channel(asking).ask(b"12345678", b"question", Deadline(60)) == b"QUESTION"
        asking.shutdown(socket.SHUT_RDWR)
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("question", [b"\xff", b"a\0b", b"\0", b"x" * 1000, b"a b", b".."])
def test_what_is_no_name_has_no_address(question: bytes) -> None:
    assert resolve.answer(question, Families.HAPPY_EYEBALLS)[:1] == resolve.FAILED
