"""Happy Eyeballs against real listeners: some answer, some refuse, some say nothing for good."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forksocks.config.model import Address
from forksocks.host import linux
from forksocks.host.causes import Cause
from forksocks.host.deadline import Deadline
from forksocks.traffic import dial
from forksocks.traffic.dial import Connection, DialFailed, Dialler, interleave
from forksocks.traffic.sources import Source
from forksocks.wire.messages import Reply
from tests.machine import LONG, NoDescriptors, free_port, open_descriptors

NEVER = 10 * LONG


def addresses(*texts: str) -> list[Address]:
    return [ip_address(text) for text in texts]


@contextlib.contextmanager
def listening(*hosts: str, dead: tuple[str, ...] = ()) -> Iterator[int]:
    """Listen on one port of each host and yield it; on those of `dead` nobody ever answers a SYN."""
    with contextlib.ExitStack() as stack:

        def listen(host: str, port: int) -> socket.socket:
            sock = stack.enter_context(
                socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            )
            sock.bind((host, port))
            sock.listen(0 if host in dead else 100)
            return sock

        def listen_on_all() -> list[socket.socket]:
            first, *others = (*hosts, *dead)
            sock = listen(first, 0)
            return [sock, *(listen(other, sock.getsockname()[1]) for other in others)]

        while True:
            with contextlib.suppress(OSError):  # the port was another's on some address
                listeners = listen_on_all()
                break
        for listener in listeners:
            if listener.getsockname()[0] in dead:  # a full queue drops what comes (listen(2))
                for _ in range(2):
                    filler = stack.enter_context(socket.socket(listener.family, socket.SOCK_STREAM))
                    filler.setblocking(False)
                    filler.connect_ex(listener.getsockname())
        yield listeners[0].getsockname()[1]


def anything(address: Address) -> str | None:
    return None


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@contextlib.contextmanager
def closing(connection: Connection) -> Iterator[Connection]:
    with connection.socket:
        yield connection


def failing(dialler: Dialler, *texts: str, port: int, seconds: float = LONG) -> DialFailed:
    with pytest.raises(DialFailed) as caught:
        dialler.dial(addresses(*texts), port, Deadline(seconds))
    return caught.value


class TestOrder:
    def test_families_alternate_the_first_ones_first(self) -> None:
        given_order = addresses("2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2")
        wanted = ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "2001:db8::3"]
        assert list(map(str, interleave(given_order))) == wanted

    def test_nothing_stays_nothing(self) -> None:
        assert interleave([]) == []

    @settings(max_examples=30)
    @given(st.lists(st.ip_addresses(), max_size=12))
    def test_none_is_lost_and_each_family_keeps_its_order(self, some: list[Address]) -> None:
        mixed = interleave(some)
        for version in (4, 6):
            assert [a for a in mixed if a.version == version] == [a for a in some if a.version == version]
        assert len(mixed) == len(some)
        assert mixed[:1] == some[:1]


class TestRace:
    def test_the_first_that_answers_is_the_connection(self) -> None:
        with (
            listening("127.0.0.1") as port,
            closing(Dialler(anything).dial(addresses("127.0.0.1"), port, Deadline(LONG))) as made,
        ):
            assert made.address == ip_address("127.0.0.1")
            assert made.socket.getsockname() == (made.bound_host, made.bound_port)
            assert made.socket.getpeername() == ("127.0.0.1", port)
            assert not os.get_blocking(made.socket.fileno())

    @pytest.mark.parametrize(("alive", "dead"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
    def test_a_dead_family_costs_a_moment(self, alive: str, dead: str) -> None:
        with (
            listening(alive, dead=(dead,)) as port,
            closing(Dialler(anything).dial(addresses(dead, alive), port, Deadline(LONG))) as made,
        ):
            assert str(made.address) == alive

    def test_the_next_waits_for_its_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dial, "STAGGER", NEVER)
        tried: list[str] = []

        def permit(address: Address) -> None:
            tried.append(str(address))

        with listening("127.0.0.1", dead=("127.0.0.2",)) as port:
            failed = failing(Dialler(permit), "127.0.0.2", "127.0.0.1", port=port, seconds=0.1)
        assert tried == ["127.0.0.2"]
        assert failed.cause is Cause.CONNECT_TIMEOUT

    def test_a_failure_brings_the_next_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dial, "STAGGER", NEVER)
        with (
            listening("127.0.0.1") as port,
            closing(
                Dialler(anything).dial(addresses("127.0.0.2", "::1", "127.0.0.1"), port, Deadline(LONG))
            ) as made,
        ):
            assert str(made.address) == "127.0.0.1"

    def test_families_take_turns(self) -> None:
        tried: list[str] = []

        def permit(address: Address) -> None:
            tried.append(str(address))

        failing(Dialler(permit), "127.0.0.1", "127.0.0.2", "::1", port=free_port())
        assert tried == ["127.0.0.1", "::1", "127.0.0.2"]

    def test_several_are_under_way_at_once_and_the_losers_are_closed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dial, "STAGGER", 0.01)
        under_way: list[int] = []

        def permit(address: Address) -> None:
            under_way.append(open_descriptors() - before)

        dead = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
        with listening("127.0.0.1", dead=dead) as port:
            before = open_descriptors()
            with closing(Dialler(permit).dial(addresses(*dead, "127.0.0.1"), port, Deadline(LONG))) as made:
                assert str(made.address) == "127.0.0.1"
                assert open_descriptors() - before == 1
        assert under_way == [0, 1, 2, 3]

    def test_one_deadline_bounds_all_attempts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dial, "STAGGER", 0.01)
        dead = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
        with listening("127.0.0.1", dead=dead) as port:
            failed = failing(Dialler(anything), *dead, port=port, seconds=0.2)
        assert (failed.reply, failed.cause) == (Reply.TTL_EXPIRED, Cause.CONNECT_TIMEOUT)

    def test_a_port_that_meets_itself_is_no_connection(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Unlucky(socket.socket):
            """The kernel picks as its own port the very one that is dialled: simultaneous open, for real."""

            def connect_ex(self, address: tuple[str, int]) -> int:  # type: ignore[override]
                self.bind(address)
                return super().connect_ex(address)

        port = free_port()
        monkeypatch.setattr(socket, "socket", Unlucky)
        failed = failing(Dialler(anything), "127.0.0.1", port=port)
        assert (failed.reply, failed.cause) == (Reply.CONNECTION_REFUSED, Cause.REFUSED)

    def test_it_tells_what_it_tries(self) -> None:
        told: list[str] = []
        dialler = Dialler(lambda address: "@b" if str(address) == "127.0.0.3" else None, trace=told.append)
        some = addresses("127.0.0.3", "127.0.0.2", "127.0.0.1")
        with listening("127.0.0.1") as port, closing(dialler.dial(some, port, Deadline(LONG))):
            pass
        assert [line for line in told if not line.startswith("dialling")] == [
            "127.0.0.3 is not allowed: @b",
            "127.0.0.2: Connection refused",
        ]
        assert "dialling 127.0.0.1" in told


class Scripted(socket.socket):
    """A socket whose connect(2) fails as told, by address."""

    codes: Mapping[str, int]

    def connect_ex(self, address: tuple[str, int]) -> int:  # type: ignore[override]
        return self.codes[address[0]]


MOST_TELLING_FIRST = [
    (errno.ECONNREFUSED, Reply.CONNECTION_REFUSED, Cause.REFUSED),
    (errno.EHOSTUNREACH, Reply.HOST_UNREACHABLE, Cause.UNREACHABLE),
    (errno.ETIMEDOUT, Reply.TTL_EXPIRED, Cause.CONNECT_TIMEOUT),
    (errno.ENETUNREACH, Reply.NETWORK_UNREACHABLE, Cause.UNREACHABLE),
    (errno.EADDRNOTAVAIL, Reply.GENERAL_FAILURE, Cause.NO_RESOURCES),
    (errno.EACCES, Reply.GENERAL_FAILURE, Cause.CONNECT_FAILED),
]


class TestErrors:
    @pytest.mark.parametrize(("code", "reply", "cause"), MOST_TELLING_FIRST)
    def test_each_has_its_reply_and_cause(
        self, code: int, reply: Reply, cause: Cause, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Scripted, "codes", {"192.0.2.1": code}, raising=False)
        monkeypatch.setattr(socket, "socket", Scripted)
        failed = failing(Dialler(anything), "192.0.2.1", port=1)
        assert (failed.reply, failed.cause) == (reply, cause)
        assert str(failed) == f"192.0.2.1: {os.strerror(code)}"

    @pytest.mark.parametrize("rank", range(len(MOST_TELLING_FIRST) - 1))
    @pytest.mark.parametrize("turned", [False, True])
    def test_of_several_the_most_telling_is_reported(
        self, rank: int, turned: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (better, reply, cause), (worse, _, _) = MOST_TELLING_FIRST[rank : rank + 2]
        codes = {"192.0.2.1": better, "192.0.2.2": worse}
        monkeypatch.setattr(Scripted, "codes", codes, raising=False)
        monkeypatch.setattr(socket, "socket", Scripted)
        failed = failing(Dialler(anything), *sorted(codes, reverse=turned), port=1)
        assert (failed.reply, failed.cause) == (reply, cause)
        assert str(failed).startswith("192.0.2.1: ")

    def test_a_refusal_tells_more_than_a_silence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dial, "STAGGER", 0.01)
        with listening("127.0.0.1", dead=("127.0.0.2",)) as port:
            failed = failing(Dialler(anything), "127.0.0.2", "127.0.0.3", port=port, seconds=0.2)
        assert (failed.reply, failed.cause) == (Reply.CONNECTION_REFUSED, Cause.REFUSED)

    def test_no_address_at_all(self) -> None:
        failed = failing(Dialler(anything), port=80)
        assert (failed.reply, failed.cause) == (Reply.HOST_UNREACHABLE, Cause.DNS_FAILED)

    def test_no_descriptor_is_our_shortage(self) -> None:
        with NoDescriptors() as none:
            dialler = Dialler(anything)
            some, deadline = addresses("127.0.0.1", "127.0.0.2"), Deadline(LONG)
            try:
                dialler.dial(some, 1, deadline)
            except DialFailed as error:
                failed = error
            none.give_back()
        assert (failed.reply, failed.cause) == (Reply.GENERAL_FAILURE, Cause.NO_RESOURCES)


class TestPermit:
    def test_what_is_not_allowed_is_skipped(self) -> None:
        def permit(address: Address) -> str | None:
            return "@private" if str(address) != "127.0.0.1" else None

        with (
            listening("127.0.0.1", "127.0.0.2") as port,
            closing(
                Dialler(permit).dial(addresses("127.0.0.2", "::1", "127.0.0.1"), port, Deadline(LONG))
            ) as made,
        ):
            assert str(made.address) == "127.0.0.1"

    def test_with_nothing_left_it_is_a_denial_that_says_what_would_open_it(self) -> None:
        openers = {"127.0.0.1": "@loopback", "10.0.0.1": "@private", "10.0.0.2": "@private"}
        with listening("127.0.0.1") as port:
            failed = failing(Dialler(lambda address: openers[str(address)]), *openers, port=port)
        assert (failed.reply, failed.cause) == (Reply.NOT_ALLOWED, Cause.DENIED)
        assert str(failed) == "@loopback; @private"

    def test_what_was_tried_and_failed_tells_more(self) -> None:
        permit: Callable[[Address], str | None] = {
            ip_address("127.0.0.1"): None,
            ip_address("10.0.0.1"): "@private",
        }.__getitem__
        failed = failing(Dialler(permit), "10.0.0.1", "127.0.0.1", port=free_port())
        assert failed.cause is Cause.REFUSED


class TestSources:
    @pytest.mark.parametrize(("source", "target"), [("127.0.0.9", "127.0.0.1"), ("::1", "::1")])
    def test_a_source_is_bound_without_taking_a_port_from_others(self, source: str, target: str) -> None:
        own = ip_address(source)
        with (
            listening(target) as port,
            closing(
                Dialler(anything, {own.version: Source(own)}).dial(addresses(target), port, Deadline(LONG))
            ) as made,
        ):
            assert made.bound_host == source
            late = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)  # ip(7); named since Python 3.12
            assert made.socket.getsockopt(socket.IPPROTO_IP, late) == 1

    def test_a_source_is_for_its_own_family(self) -> None:
        with (
            listening("::1") as port,
            closing(
                Dialler(anything, {4: Source(ip_address("127.0.0.9"))}).dial(
                    addresses("::1"), port, Deadline(LONG)
                )
            ) as made,
        ):
            assert made.bound_host == "::1"

    def test_a_source_that_is_not_ours_is_our_shortage(self) -> None:
        with listening("127.0.0.1") as port:
            failed = failing(Dialler(anything, {4: Source(ip_address("192.0.2.1"))}), "127.0.0.1", port=port)
        assert (failed.reply, failed.cause) == (Reply.GENERAL_FAILURE, Cause.NO_RESOURCES)

    def test_an_interface_is_left_by_and_what_is_not_there_leads_nowhere(self) -> None:
        with listening("127.0.0.1") as port:
            by = Dialler(anything, {4: Source(interface="lo")})
            with closing(by.dial(addresses("127.0.0.1"), port, Deadline(LONG))) as made:
                assert made.socket.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16) == b"lo\0"
            failed = failing(Dialler(anything, {4: Source(interface="no-such-one")}), "127.0.0.1", port=port)
        assert (failed.reply, failed.cause) == (Reply.NETWORK_UNREACHABLE, Cause.UNREACHABLE)

    def test_where_sockets_have_no_interface_nothing_goes_another_way(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(linux, "SO_BINDTODEVICE", None)
        with listening("127.0.0.1") as port:
            failed = failing(Dialler(anything, {4: Source(interface="lo")}), "127.0.0.1", port=port)
        assert failed.reply is Reply.GENERAL_FAILURE
