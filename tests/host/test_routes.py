from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import pytest

from forksocks.config.model import Address
from forksocks.host import routes, rtnetlink
from forksocks.host.routes import PortableSource, Routes, Surroundings
from forksocks.host.rtnetlink import NoRoute, RouteSocket

PUBLIC, NEAR, OWN, GATEWAY = map(ip_address, ("198.51.100.1", "10.1.2.4", "10.1.2.3", "10.1.2.254"))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Counts what it is asked; `error` is raised in place of every answer, `takes` passes on the clock."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.own = {OWN}
        self.places = 0
        self.dumps = 0
        self.takes = 0.0
        self.error: OSError | None = None
        self._clock = clock

    def place(self, address: Address) -> routes.Place:
        self.places += 1
        if self.error:
            raise self.error
        return routes.Place(own=address in self.own, attached=address in (NEAR, GATEWAY))

    def surroundings(self) -> Surroundings:
        self.dumps += 1
        if self._clock:
            self._clock.now += self.takes
        if self.error:
            raise self.error
        return Surroundings(frozenset({GATEWAY}), (ip_network("10.1.2.0/24"),))

    def close(self) -> None:
        self.error = OSError(errno.EBADF, "closed")


def test_an_answer_is_kept_for_a_second() -> None:
    clock, source = Clock(), Source()
    known = Routes(source, clock)
    for moment in (100.0, 100.5, 100.999):
        clock.now = moment
        assert known.is_own(OWN)
        assert not known.is_own(PUBLIC)
    assert source.places == 2
    source.own = {OWN, PUBLIC}
    clock.now = 101.0
    assert known.is_own(PUBLIC)
    assert source.places == 3


def test_the_tables_are_read_once_a_second() -> None:
    clock, source = Clock(), Source()
    known = Routes(source, clock)
    for moment in (100.0, 100.999):
        clock.now = moment
        assert known.is_attached(NEAR)
        assert not known.is_attached(GATEWAY)
        assert known.default_gateways() == {GATEWAY}
    assert source.dumps == 1
    clock.now = 101.0
    assert known.attached_networks() == (ip_network("10.1.2.0/24"),)
    assert source.dumps == 2


def test_tables_that_take_long_are_read_less_often() -> None:
    clock = Clock()
    source = Source(clock)
    source.takes = 0.5
    known = Routes(source, clock)
    assert known.default_gateways()
    clock.now = 149.9
    assert known.default_gateways()
    assert source.dumps == 1
    clock.now = 150.0
    assert known.default_gateways()
    assert source.dumps == 2


def test_memory_is_bounded() -> None:
    source = Source()
    known = Routes(source, Clock())
    first = ip_address("198.18.0.0")
    addresses = [first + number for number in range(10_000)]
    for address in addresses:
        assert not known.is_own(address)
    for address in reversed(addresses):
        assert not known.is_own(address)
    assert source.places > len(addresses) + 5000, "more than 5000 answers were remembered"


def test_the_unspecified_and_loopback_are_own_without_asking() -> None:
    source = Source()
    known = Routes(source, Clock())
    for text in (
        "0.0.0.0",
        "::",
        "127.0.0.1",
        "127.255.255.254",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:0.0.0.0",
    ):
        assert known.is_own(ip_address(text)), text
        assert not known.is_attached(ip_address(text)), text
    assert not source.places


def test_a_mapped_address_is_judged_as_what_is_inside() -> None:
    known = Routes(Source(), Clock())
    assert known.is_own(ip_address(f"::ffff:{OWN}"))
    assert known.is_attached(ip_address(f"::ffff:{NEAR}"))
    assert not known.is_attached(ip_address(f"::ffff:{GATEWAY}"))


def test_a_source_that_fails_makes_no_neighbours() -> None:
    clock, source = Clock(), Source()
    known = Routes(source, clock)
    assert known.is_attached(NEAR)
    clock.now += 1
    source.error = OSError(errno.ENOBUFS, "no buffer space")
    assert not known.is_attached(NEAR)
    assert known.default_gateways() == frozenset()
    assert known.attached_networks() == ()
    dumps = source.dumps
    known.default_gateways()
    assert source.dumps == dumps, "a failure is remembered too"


def test_a_source_that_fails_tables_alone_makes_no_neighbours() -> None:
    class Half(Source):
        def surroundings(self) -> Surroundings:
            raise OSError(errno.ETIMEDOUT, "rtnetlink did not answer")

    known = Routes(Half(), Clock())
    assert known.is_own(OWN)
    assert not known.is_attached(NEAR)


def test_a_source_that_fails_is_replaced_by_the_twin() -> None:
    source = Source()
    source.error = OSError(errno.ENOMEM, "no memory")
    known = Routes(source, Clock())
    assert known.is_own(ip_address("127.0.0.1"))
    assert not known.is_own(ip_address("255.255.255.255")), "connect refuses broadcast, so it goes nowhere"


def test_what_cannot_be_asked_at_all_is_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_socket(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(socket, "socket", no_socket)
    assert routes.is_own_by_source_address(PUBLIC)


def test_a_closed_one_answers_on_the_safe_side() -> None:
    known = Routes()
    known.close()
    assert known.is_own(ip_address("127.0.0.1"))
    assert not known.is_attached(NEAR)


def test_without_netlink_the_twin_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> routes.NetlinkSource:
        raise OSError(errno.EPROTONOSUPPORT, "not here")

    monkeypatch.setattr(routes, "NetlinkSource", refused)
    assert isinstance(routes.best_source(), PortableSource)
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    assert isinstance(routes.best_source(), PortableSource)


def test_the_twin_knows_loopback_and_no_neighbours() -> None:
    twin = PortableSource()
    assert twin.place(ip_address("127.0.0.1")) == routes.Place(own=True, attached=False)
    assert not twin.place(ip_address("255.255.255.255")).own, "nothing is sent there, so nobody takes it"
    assert twin.surroundings() == Surroundings(frozenset(), ())
    twin.close()


def test_many_threads_ask_one_socket() -> None:
    source = routes.NetlinkSource()
    wrong: list[object] = []

    def ask(number: int) -> None:
        for low in range(100):
            address = ip_address(f"127.{number}.0.{low}")
            if not source.place(address).own:
                wrong.append(address)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    source.close()
    assert not wrong


# A kernel of our own making: the same socket calls, answers as the test wants them.

HEADER = struct.Struct("=IHHII")
ROUTE = struct.Struct("=BBBBBBBBI")
NEW_ROUTE, ERROR, DONE = 24, 2, 3
LOCAL_ROUTE = ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, rtnetlink.LOCAL, 0)


def message(kind: int, payload: bytes, sequence: int, flags: int = 0) -> bytes:
    return HEADER.pack(HEADER.size + len(payload), kind, flags, sequence, 0) + payload


def failure(number: int) -> bytes:
    return struct.pack("=i", -number)


def answered(kind: int, payload: bytes, flags: int = 0, sender: int = 0) -> tuple[int, bytes, int, int]:
    return kind, payload, flags, sender


class Kernel:
    """Answers each question with the next of `script`: datagrams of (type, payload, flags, sender)."""

    def __init__(self, *script: list[tuple[int, bytes, int, int]]) -> None:
        self.script = list(script)
        self.queue: list[tuple[bytes, int]] = []
        self.questions = 0

    def sendto(self, data: bytes, _: object) -> int:
        sequence = HEADER.unpack_from(data)[3]
        if not self.script:
            return len(data)
        for kind, payload, flags, sender in self.script.pop(0):
            number = sequence - 1 if sender < 0 else sequence
            self.queue.append((message(kind, payload, number, flags), max(sender, 0)))
        self.questions += 1
        return len(data)

    def recvfrom_into(self, buffer: bytearray) -> tuple[int, tuple[int, int]]:
        if not self.queue:
            raise BlockingIOError
        data, sender = self.queue.pop(0)
        buffer[: len(data)] = data
        return len(data), (sender, 0)


@pytest.fixture
def asker() -> Iterator[RouteSocket]:
    made = RouteSocket(seconds=0.2)
    real = made._socket  # noqa: SLF001 - only a kernel could answer otherwise
    yield made
    real.close()


def pose(asker: RouteSocket, kernel: Kernel) -> None:
    asker._socket = kernel  # type: ignore[assignment]  # noqa: SLF001


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.ESRCH])
def test_an_error_that_is_the_answer(asker: RouteSocket, number: int) -> None:
    pose(asker, Kernel([answered(ERROR, failure(number))]))
    with pytest.raises(NoRoute) as caught:
        asker.lookup(PUBLIC)
    assert caught.value.errno == number


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EBUSY, errno.EPERM, errno.EINVAL])
def test_an_error_that_is_no_answer(asker: RouteSocket, number: int) -> None:
    pose(asker, Kernel([answered(ERROR, failure(number))]))
    with pytest.raises(OSError, match="rtnetlink") as caught:
        asker.lookup(PUBLIC)
    assert not isinstance(caught.value, NoRoute)


def test_a_lost_answer_is_asked_for_again(asker: RouteSocket) -> None:
    lost = [answered(ERROR, failure(errno.ENOBUFS))]
    kernel = Kernel(lost, lost, [answered(NEW_ROUTE, LOCAL_ROUTE)])
    pose(asker, kernel)
    assert asker.lookup(PUBLIC).kind == rtnetlink.LOCAL
    assert kernel.questions == 3
    pose(asker, Kernel(lost, lost, lost, [answered(NEW_ROUTE, LOCAL_ROUTE)]))
    with pytest.raises(OSError, match="rtnetlink"):
        asker.lookup(PUBLIC)


def test_silence_ends_at_the_deadline(asker: RouteSocket) -> None:
    pose(asker, Kernel())
    with pytest.raises(TimeoutError):
        asker.lookup(PUBLIC)


def test_late_answers_and_strangers_are_not_believed(asker: RouteSocket) -> None:
    unicast = ROUTE.pack(socket.AF_INET, 32, 0, 0, 0, 0, 0, rtnetlink.UNICAST, 0)
    pose(
        asker,
        Kernel(
            [
                answered(NEW_ROUTE, unicast, sender=-1),  # to the question before
                answered(NEW_ROUTE, unicast, sender=4711),  # another process
                answered(NEW_ROUTE, LOCAL_ROUTE),
            ]
        ),
    )
    assert asker.lookup(PUBLIC).kind == rtnetlink.LOCAL


def test_a_disturbed_dump_is_read_again(asker: RouteSocket) -> None:
    half = [answered(NEW_ROUTE, LOCAL_ROUTE, flags=0x10), answered(DONE, failure(0))]
    whole = [answered(NEW_ROUTE, LOCAL_ROUTE), answered(DONE, failure(0))]
    pose(asker, Kernel(half, whole, whole))
    assert len(asker.dump()) == 2


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        LOCAL_ROUTE[:-1],
        LOCAL_ROUTE + struct.pack("=HH", 200, 1),  # an attribute longer than the message
        LOCAL_ROUTE + struct.pack("=HH", 0, 1),  # one that never ends the loop
    ],
)
def test_odd_answers_are_errors(asker: RouteSocket, payload: bytes) -> None:
    pose(asker, Kernel([answered(NEW_ROUTE, payload)]))
    with pytest.raises(OSError, match="odd answer"):
        asker.lookup(PUBLIC)
