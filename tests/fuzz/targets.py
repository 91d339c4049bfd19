"""What is fuzzed: functions of bytes that return, or raise AssertionError for what must never be.

Every parser gives a value or its own one error, takes not a byte beyond its message, and does not care how
the bytes were cut. Any other exception is a finding.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from forksocks.access.users import UsersError, read_lines
from forksocks.config import show
from forksocks.config.load import ConfigError, load_text
from forksocks.config.model import Config
from forksocks.wire import gssapi, helper, names, socks4, socks5, udp
from forksocks.wire.messages import ProtocolError
from forksocks.wire.reader import EndOfStream, Reader
from tests.fuzz.policy import decide
from tests.fuzz.session import serve
from tests.wire.cutting import Pieces

Target = Callable[[bytes], None]
Parse = Callable[[Reader], object]


def read_token(reader: Reader) -> bytes:
    """Read a message of GSSAPI as a client that has begun sends it, and check what a datagram has to be."""
    token = gssapi.read_token(reader, gssapi.Kind.DATA)
    message = gssapi.message(gssapi.Kind.DATA, token)
    assert gssapi.whole_token(message, gssapi.Kind.DATA) == token
    return token


PARSERS: tuple[Parse, ...] = (
    socks5.read_methods,
    socks5.read_credentials,
    socks5.read_request,
    socks4.read_request,
    read_token,
)


def messages(data: bytes) -> None:
    """A byte picks the parser, the next how the rest is cut."""
    if len(data) < 2:
        return
    parse, size, data = PARSERS[data[0] % len(PARSERS)], 1 + data[1] % 64, data[2:]
    whole = _parsed(parse, Pieces(data))
    assert _parsed(parse, Pieces(*(data[at : at + size] for at in range(0, len(data), size)))) == whole
    if whole[0] == "parsed":
        assert data.endswith(whole[2])
        taken = data[: len(data) - len(whole[2])]
        assert _parsed(parse, Pieces(taken)) == ("parsed", whole[1], b"")
        for cut in range(0, len(taken), 1 + len(taken) // 8):
            assert _parsed(parse, Pieces(taken[:cut]))[0] == "ended"


def _parsed(parse: Parse, source: Pieces) -> tuple[str, object, bytes]:
    reader = Reader(source)
    try:
        found = parse(reader)
    except EndOfStream:
        return "ended", None, b""
    except ProtocolError as error:
        return _refused(error)
    rest = reader.rest()
    while more := source(4096):
        rest += more
    return "parsed", found, rest


def _refused(error: ProtocolError) -> tuple[str, object, bytes]:
    assert len(error.answer) in (0, 2, 8, 10)
    return "refused", (str(error), error.answer), b""


def _is_told(error: Exception) -> None:
    """An error that a person reads has lines that a terminal shows as they are."""
    lines = str(error).split("\n")
    assert all(lines)
    assert all(line.isprintable() for line in lines)


def host_names(data: bytes) -> None:
    """A name is lowered and stays what it is; an address is one that Python writes back."""
    with contextlib.suppress(names.BadName):
        found = names.read_name(data)
        if isinstance(found, str):
            assert found.isascii()
            assert found == found.lower()
            assert 0 < len(found) <= names.LONGEST_NAME
        assert names.read_name(str(found).encode()) == found


def datagrams(data: bytes) -> None:
    """A header, and what it says written again; or a message of GSSAPI that is all there is."""
    with contextlib.suppress(ProtocolError):
        token = gssapi.whole_token(data, gssapi.Kind.DATA)
        assert gssapi.message(gssapi.Kind.DATA, token) == data
    size = udp.header_size(data)
    assert 0 <= size <= len(data)
    try:
        found = udp.read_header(data)
    except ProtocolError:
        assert not size
        return
    assert found.size == size >= 7
    assert udp.read_header(memoryview(data)[:size]) == found
    if not isinstance(found.host, bytes):
        assert udp.header(found.host.packed, found.port, found.fragment) == data[:size]


def reassembly(data: bytes) -> None:
    """Steps of four bytes: FRAG, length, destination, time; whatever comes, what waits is bounded."""
    queue = udp.Reassembly()
    now = 0.0
    for at in range(0, len(data) - 3, 4):
        fragment, length, to, later = data[at : at + 4]
        now += later / 32
        payload = bytes((fragment,)) * (length * 257)
        if fragment:
            before = b"".join(queue.pieces)
            whole = queue.add(bytes((to & 1,)), fragment, payload, now)
            if whole is not None:
                assert whole in (before + payload, payload)
                assert not queue.pieces
        else:
            queue.abandon()
        assert sum(map(len, queue.pieces)) <= udp.LONGEST_PAYLOAD
        assert len(queue.pieces) <= 127


def users(data: bytes) -> None:
    """A file of users is read whole or refused whole, in a sentence that fits on a line."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            lines = read_lines(file.fileno(), "users")
        except UsersError as error:
            return _is_told(error)
        assert os.fstat(file.fileno()).st_size == len(data)
    assert len(lines) <= data.count(b"\n") + 1


def configuration(data: bytes) -> None:
    """A configuration, which is shown and loads back to the same, or problems of one line each."""
    try:
        loaded = load_text(data.decode("utf-8", "surrogateescape"), base=Path("/base"))
    except ConfigError as error:
        return _is_told(error)
    assert isinstance(loaded.config, Config)
    assert load_text(show.effective(loaded), base=Path("/base")).config == loaded.config


def helper_lines(data: bytes) -> None:
    """An answer is one or none; a question comes apart as it was put together."""
    for with_channel in (False, True):
        with contextlib.suppress(ProtocolError):
            found = helper.read_answer(data, with_channel)
            assert found.channel >= 0
    name, _, password = data.partition(b" ")
    if helper.can_be_asked(name, password):
        assert helper.question(name, password, None).count(b"\n") == 1


TARGETS: Mapping[str, Target] = {
    "messages": messages,
    "names": host_names,
    "datagrams": datagrams,
    "reassembly": reassembly,
    "session": serve,
    "users": users,
    "configuration": configuration,
    "helper": helper_lines,
    "rules": decide,
}
