"""The routing tables of a network namespace made for this; the rest with replies made up here."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from forksocks.config.model import Address
from forksocks.host import routes as module
from forksocks.host.routes import Neighbourhood, NetlinkSource, Place, PortableSource, Routes
from forksocks.host.rtnetlink import NoRoute, RouteSocket
from tests.machine import LONG

# Two gateways a family (one of them of the other family), AnyIP, half of the internet as VPNs route it, an
# on-link network without an address of ours, routes that lead nowhere. A new link takes a moment to come up,
# and until then IPv6 has no local route to the address that it carries.
SETUP = """
set -e
ip link set lo up
ip link add v0 type veth peer name v1
ip addr add 10.9.0.1/24 dev v0
ip addr add 203.0.114.1/24 dev v0
ip addr add fd09::1/64 dev v0 nodad
ip addr add 2a00:9::1/64 dev v0 nodad
ip link set v0 addrgenmode none up
ip link set v1 addrgenmode none up
ip route add local 198.51.100.0/24 dev lo
ip -6 route add local 2a00:aa::/64 dev lo
ip route add default nexthop via 10.9.0.2 dev v0 nexthop via inet6 fd09::7 dev v0
ip -6 route add default nexthop via fd09::2 dev v0 nexthop via fd09::3 dev v0
ip route add 0.0.0.0/1 via 10.9.0.4
ip route add 172.0.0.0/7 dev v0
ip route add 10.20.0.0/16 dev v0
ip route add 10.8.0.0/16 via inet6 fd09::9 dev v0
ip route add default via 10.9.0.5 table 77
ip route add blackhole 10.7.0.0/16
ip route add prohibit 10.6.0.0/16
ip route add unreachable 10.5.0.0/16
ip -6 route add unreachable fd07::/64
until ip route get fd09::1 | grep -q ^local && ip route get 2a00:9::1 | grep -q ^local; do :; done
exec "$@"
"""

PROGRAM = """
import json, sys
from ipaddress import ip_address
from forksocks.host.routes import NetlinkSource, PortableSource, Routes
said = {}
for source in (NetlinkSource(60.0), PortableSource()):
    routes = Routes(source)
    said[type(source).__name__] = {
        "own": [each for each in sys.argv[1:] if routes.is_own(ip_address(each))],
        "attached": [each for each in sys.argv[1:] if routes.is_attached(ip_address(each))],
        "gateways": sorted(map(str, source.neighbourhood().gateways)),
        "networks": list(map(str, routes.attached_networks())),
    }
    routes.close()
print(json.dumps(said))
"""

INTERFACES = "10.9.0.1 203.0.114.1 fd09::1 2a00:9::1".split()  # noqa: SIM905 - a table of addresses
LOOPBACK = "127.0.0.1 127.9.9.9 ::1 0.0.0.0 :: ::ffff:127.0.0.1 ::ffff:10.9.0.1".split()  # noqa: SIM905
ANYIP4, ANYIP6 = "198.51.100.77", "2a00:aa::77"
BROADCAST = "10.9.0.255"
NEIGHBOURS = "10.9.0.9 203.0.114.9 10.20.3.4 fd09::99 2a00:9::9 ::ffff:10.9.0.9".split()  # noqa: SIM905
GATEWAYS = "10.9.0.2 10.9.0.4 10.9.0.5 fd09::2 fd09::3 fd09::7".split()  # noqa: SIM905
ELSEWHERE = "8.8.8.8 200.1.1.1 172.17.0.1 10.8.1.1 2606::1 10.7.1.1 10.6.1.1 10.5.1.1 fd07::1".split()  # noqa: SIM905
ALL = [*INTERFACES, *LOOPBACK, ANYIP4, ANYIP6, BROADCAST, *NEIGHBOURS, *GATEWAYS, *ELSEWHERE]

Said = dict[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def said() -> Said:
    """What both sources say inside the namespace, which ends with the process."""
    new = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        [*new, "sh", "-c", SETUP, "sh", sys.executable, "-c", PROGRAM, *ALL],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: Said = json.loads(done.stdout)
    return answer


def test_own_are_the_interfaces_addresses_broadcasts_and_anyip(said: Said) -> None:
    assert said["NetlinkSource"]["own"] == [*INTERFACES, *LOOPBACK, ANYIP4, ANYIP6, BROADCAST]


def test_attached_are_hosts_on_link_without_the_default_gateways(said: Said) -> None:
    assert said["NetlinkSource"]["attached"] == NEIGHBOURS


def test_default_gateways_are_those_of_every_table_next_hop_and_family(said: Said) -> None:
    assert said["NetlinkSource"]["gateways"] == GATEWAYS


def test_attached_networks_are_listed_without_default_routes_by_another_name(said: Said) -> None:
    assert said["NetlinkSource"]["networks"] == [
        "10.9.0.0/24",
        "10.20.0.0/16",
        "203.0.114.0/24",
        "2a00:9::/64",
        "fd09::/64",
    ]


def test_the_portable_twin_knows_the_interfaces_addresses_and_no_neighbours(said: Said) -> None:
    assert said["PortableSource"] == {
        "own": [*INTERFACES, *LOOPBACK, ANYIP4],
        "attached": [],
        "gateways": [],
        "networks": [],
    }


class Scripted:
    """A source that counts, and fails when told to."""

    def __init__(self) -> None:
        self.asked: list[Address] = []
        self.dumps = 0
        self.failing = False
        self.duration = 0.0
        self.now = 100.0

    def place(self, address: Address) -> Place:
        self.asked.append(address)
        if self.failing:
            raise TimeoutError(errno.ETIMEDOUT, "no answer")
        return Place(own=False, attached=True)

    def neighbourhood(self) -> Neighbourhood:
        self.dumps += 1
        self.now += self.duration
        if self.failing:
            raise TimeoutError(errno.ETIMEDOUT, "no answer")
        return Neighbourhood(frozenset({ip_address("10.0.0.1")}), (ip_network("10.0.0.0/24"),))

    def close(self) -> None:
        self.failing = True

    def clock(self) -> float:
        return self.now


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


NEIGHBOUR, GATEWAY = ip_address("10.0.0.9"), ip_address("10.0.0.1")


def test_answers_are_kept_for_a_second(scripted: Scripted) -> None:
    routes = Routes(scripted, scripted.clock)
    for moment in (100.0, 100.5, 100.99):
        scripted.now = moment
        assert routes.is_attached(NEIGHBOUR)
        assert not routes.is_attached(GATEWAY)
    assert (scripted.asked, scripted.dumps) == ([NEIGHBOUR, GATEWAY], 1)
    scripted.now = 101.0
    assert routes.is_attached(NEIGHBOUR)
    assert (len(scripted.asked), scripted.dumps) == (3, 2)


def test_the_memory_of_answers_is_bounded(scripted: Scripted) -> None:
    routes = Routes(scripted, scripted.clock)
    for number in range(3 * 4096):
        routes.is_own(IPv4Address(0x0B000000 + number))
        assert len(vars(routes)["_places"]) <= 4096
    assert len(scripted.asked) == 3 * 4096


def test_tables_that_take_long_to_read_are_read_seldom(scripted: Scripted) -> None:
    scripted.duration = 2.0
    routes = Routes(scripted, scripted.clock)
    assert not routes.is_attached(GATEWAY)
    scripted.now += 190.0
    assert routes.attached_networks() == (ip_network("10.0.0.0/24"),)
    assert scripted.dumps == 1
    scripted.now += 10.0
    assert not routes.is_attached(GATEWAY)
    assert scripted.dumps == 2


def test_what_cannot_be_found_out_is_no_neighbour(scripted: Scripted) -> None:
    routes = Routes(scripted, scripted.clock)
    assert routes.is_attached(NEIGHBOUR)
    scripted.failing = True
    scripted.now += 2.0
    assert not routes.is_attached(NEIGHBOUR)
    assert routes.attached_networks() == ()
    assert scripted.dumps == 2, "a failure is remembered as well"


def test_neighbours_are_not_believed_while_the_gateways_are_unknown(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> Neighbourhood:
        raise TimeoutError(errno.ETIMEDOUT, "no answer")

    monkeypatch.setattr(scripted, "neighbourhood", fails)
    assert not Routes(scripted, scripted.clock).is_attached(NEIGHBOUR)


def test_without_an_answer_the_portable_way_decides_what_is_own(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.failing = True
    monkeypatch.setattr(module, "is_own_by_source_address", lambda address: address == NEIGHBOUR)
    routes = Routes(scripted, scripted.clock)
    assert routes.is_own(NEIGHBOUR)
    assert not routes.is_own(GATEWAY)


def test_without_any_socket_everything_is_own(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(socket, "socket", fails)
    assert PortableSource().place(ip_address("8.8.8.8")).own


@pytest.mark.parametrize("failure", [None, OSError(errno.EPERM, "not in this sandbox")])
def test_the_best_source_is_chosen(monkeypatch: pytest.MonkeyPatch, failure: OSError | None) -> None:
    def fails() -> None:
        assert failure is not None
        raise failure

    if failure is None:
        monkeypatch.delattr(socket, "AF_NETLINK")
    else:
        monkeypatch.setattr(module, "NetlinkSource", fails)
    assert isinstance(module.best_source(), PortableSource)
    monkeypatch.undo()
    best = module.best_source()
    assert isinstance(best, NetlinkSource)
    best.close()


def test_threads_share_one_socket_without_mixing_answers() -> None:
    asker = RouteSocket(LONG)
    wrong: list[object] = []

    def ask(last: int) -> None:
        for _ in range(300):
            route = asker.lookup(ip_address(f"127.0.0.{last}"))
            if route.kind != 2 or (last == 1) != (route.prefix == 32):
                wrong.append(route)

    threads = [threading.Thread(target=ask, args=(last,)) for last in (1, 2, 1, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asker.close()
    assert wrong == []


def test_a_closed_socket_says_so() -> None:
    asker = RouteSocket(LONG)
    asker.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        asker.lookup(ip_address("127.0.0.1"))


KERNEL, STRANGER = (0, 0), (4711, 0)
Reply = tuple[bytes, tuple[int, int]] | OSError


def message(sequence: int, kind: int, payload: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, sequence, 0) + payload


def route(family: int = socket.AF_INET, kind: int = 1, attributes: bytes = b"") -> bytes:
    return struct.pack("=BBBBBBBBI", family, 24, 0, 0, 254, 0, 0, kind, 0) + attributes


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


LOCAL, UNICAST = route(kind=2), route(kind=1)
NEW, ERROR, DONE = 24, 2, 3


class FakeSocket:
    """Answers what a function of the question's sequence number says."""

    def __init__(self, script: Callable[[int], list[Reply]]) -> None:
        self.script = script
        self.questions: list[int] = []
        self.replies: list[Reply] = []

    def __call__(self, *_: object) -> FakeSocket:
        return self

    def bind(self, address: tuple[int, int]) -> None:
        assert address == KERNEL

    def setsockopt(self, *_: object) -> None:
        """Time runs out when the script does."""

    def sendto(self, data: bytes, address: tuple[int, int]) -> None:
        assert address == KERNEL
        self.questions.append(struct.unpack_from("=IHHII", data)[3])
        self.replies += self.script(self.questions[-1])

    def recvfrom_into(self, buffer: bytearray) -> tuple[int, tuple[int, int]]:
        if not self.replies:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        reply = self.replies.pop(0)
        if isinstance(reply, OSError):
            raise reply
        data, sender = reply
        buffer[: len(data)] = data
        return len(data), sender

    def close(self) -> None:
        self.replies.clear()


@pytest.fixture
def faked(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[int], list[Reply]]], tuple[RouteSocket, FakeSocket]]:
    def make(script: Callable[[int], list[Reply]]) -> tuple[RouteSocket, FakeSocket]:
        fake = FakeSocket(script)
        monkeypatch.setattr(socket, "socket", fake)
        return RouteSocket(LONG), fake

    return make


Faked = Callable[[Callable[[int], list[Reply]]], tuple[RouteSocket, FakeSocket]]
ADDRESS = ip_address("192.0.2.1")


def test_what_is_not_the_answer_is_passed_over(faked: Faked) -> None:
    asker, _ = faked(
        lambda seq: [
            (message(seq, NEW, LOCAL), STRANGER),
            (message(seq - 1, NEW, LOCAL), KERNEL),
            (message(seq + 1, NEW, LOCAL), KERNEL),
            (message(seq, 1, b""), KERNEL),
            (message(seq, NEW, route(family=128)), KERNEL),
            (message(seq - 1, NEW, LOCAL) + message(seq, NEW, UNICAST), KERNEL),
        ]
    )
    assert asker.lookup(ADDRESS).kind == 1


def test_an_answer_that_comes_too_late_does_not_answer_the_next_question(faked: Faked) -> None:
    late = {1: [], 2: [(message(1, NEW, LOCAL), KERNEL), (message(2, NEW, UNICAST), KERNEL)]}
    asker, _ = faked(lambda seq: list(late[seq]))
    with pytest.raises(TimeoutError):
        asker.lookup(ADDRESS)
    assert asker.lookup(ADDRESS).kind == 1


def test_an_overrun_is_asked_again_but_not_for_ever(faked: Faked) -> None:
    overrun = OSError(errno.ENOBUFS, "No buffer space available")
    asker, fake = faked(lambda seq: [overrun] if seq < 3 else [(message(seq, NEW, UNICAST), KERNEL)])
    assert asker.lookup(ADDRESS).kind == 1
    assert fake.questions == [1, 2, 3]
    asker, fake = faked(lambda _: [overrun])
    with pytest.raises(OSError, match="No buffer space"):
        asker.lookup(ADDRESS)
    assert fake.questions == [1, 2, 3]


def test_a_dump_that_was_disturbed_is_asked_again_but_not_for_ever(faked: Faked) -> None:
    interrupted = 0x10
    asker, fake = faked(
        lambda seq: [
            (message(seq, NEW, UNICAST, interrupted if seq in (1, 3) else 0), KERNEL),
            (message(seq, DONE, struct.pack("=i", 0)), KERNEL),
        ]
    )
    assert len(asker.dump()) == 2
    assert fake.questions == [1, 2, 3, 4]
    asker, fake = faked(lambda seq: [(message(seq, DONE, b"", interrupted), KERNEL)])
    with pytest.raises(InterruptedError):
        asker.dump()
    assert fake.questions == [1, 2, 3]


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES])
def test_no_route_is_an_answer(faked: Faked, code: int) -> None:
    asker, _ = faked(lambda seq: [(message(seq, ERROR, struct.pack("=i", -code) + bytes(28)), KERNEL)])
    with pytest.raises(NoRoute) as caught:
        asker.lookup(ADDRESS)
    assert caught.value.errno == code


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EBUSY, errno.EINVAL, errno.EPERM])
def test_a_question_that_was_not_understood_is_none(faked: Faked, code: int) -> None:
    asker, _ = faked(lambda seq: [(message(seq, ERROR, struct.pack("=i", -code)), KERNEL)])
    with pytest.raises(OSError, match="rtnetlink") as caught:
        asker.lookup(ADDRESS)
    assert not isinstance(caught.value, NoRoute)


@pytest.mark.parametrize(
    "odd",
    [
        b"\x01",
        struct.pack("=IHHII", 15, NEW, 0, 1, 0),
        struct.pack("=IHHII", 0, NEW, 0, 1, 0),
        struct.pack("=IHHII", 400, NEW, 0, 1, 0),
        message(1, NEW, b"\x02"),
        message(1, NEW, route(attributes=b"\x03\x00\x01\x00")),
        message(1, NEW, route(attributes=b"\xff\x00\x01\x00")),
        message(1, NEW, route(attributes=attribute(9, b"\x07\x00\0\0\0\0\0\0"))),
        message(1, NEW, route(attributes=attribute(9, b"\xff\x00\0\0\0\0\0\0"))),
    ],
)
def test_an_odd_answer_is_an_error(faked: Faked, odd: bytes) -> None:
    asker, _ = faked(lambda _: [(odd, KERNEL)])
    with pytest.raises(OSError, match="odd answer from rtnetlink"):
        asker.lookup(ADDRESS)


def test_an_answer_without_a_route_is_an_error(faked: Faked) -> None:
    asker, _ = faked(lambda seq: [(message(seq, DONE, b""), KERNEL)])
    with pytest.raises(OSError, match="no answer"):
        asker.lookup(ADDRESS)


def test_addresses_of_odd_sizes_are_passed_over(faked: Faked) -> None:
    asker, _ = faked(
        lambda seq: [
            (message(seq, NEW, route(attributes=attribute(1, b"\x01\x02"))), KERNEL),
            (message(seq, NEW, route(attributes=attribute(5, b"\x01") + attribute(18, b"\0"))), KERNEL),
        ]
    )
    found = asker.lookup(ADDRESS)
    assert (found.destination, found.gateways) == (ip_address("0.0.0.0"), ())


def test_a_kernel_that_never_answers_costs_its_time_and_no_more() -> None:
    class Deaf(socket.socket):
        def sendto(self, *_: object) -> int:
            return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", Deaf)
        asker = RouteSocket(seconds=0.05)
    with pytest.raises(TimeoutError, match="did not answer"):
        asker.lookup(ADDRESS)
    asker.close()


def test_messages_that_are_not_ours_do_not_hold_us_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(list[Reply]):
        def __bool__(self) -> bool:
            return True

        def pop(self, *_: object) -> Reply:
            return message(0, NEW, LOCAL), KERNEL

    fake = FakeSocket(lambda _: [])
    fake.replies = Endless()
    monkeypatch.setattr(socket, "socket", fake)
    asker = RouteSocket(seconds=0.05)
    with pytest.raises(TimeoutError, match="did not answer"):
        asker.lookup(ADDRESS)


def test_a_socket_that_cannot_be_bound_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []

    class Unbindable(socket.socket):
        def bind(self, *_: object) -> None:
            made.append(self)
            raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", Unbindable)
    with pytest.raises(OSError, match="not permitted"):
        RouteSocket(LONG)
    assert made[0].fileno() == -1
