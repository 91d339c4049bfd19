"""What is done to the server, how often, and what it excuses.

A fault is done to the server as an operator, a bug or the machine would do it. What it excuses holds for
sessions that were under way while it lasted; everything else that goes wrong is the server's fault.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.endurance.loads import PASSWORD, USER
from tests.endurance.target import HANG, THREADS, WORKERS, Target
from tests.system.client import Client
from tests.system.programs import make_user

# How long after a fault its consequences may still be seen, in seconds, on a machine that is busy.
AFTERMATH = 10.0
# Whoever does harm comes from elsewhere: what strangers may do is limited by address.
ELSEWHERE = "127.0.0.2"
# The part of the time in which programs follow each other; the last one has to last.
UPGRADES = 1 / 3
FEWEST, MOST = 2, 5  # workers


@dataclass(frozen=True)
class Planned:
    """A fault to come: how many seconds after the start, which one, and its own randomness."""

    at: float
    kind: str
    seed: int


@dataclass(frozen=True)
class Happened:
    """A fault that was done: when it began and when it was over (monotonic clock), and to what."""

    kind: str
    began: float
    ended: float
    what: str

    def excuses(self, how: str, began: float, ended: float) -> bool:
        """Whether a session of that time may have ended so."""
        return how in FAULTS[self.kind].excuses and began < self.ended + AFTERMATH and ended > self.began


Do = Callable[[Target, random.Random], str]


@dataclass(frozen=True)
class Fault:
    """How often a fault comes, relative to the others, what it excuses, and how it is done."""

    weight: int
    excuses: frozenset[str]
    do: Do


def plan(seed: int, begin: float, end: float, every: float) -> list[Planned]:
    """The faults between two times, on average one in `every` seconds; the same seed gives the same."""
    chance = random.Random(f"{seed} faults")
    kinds, weights = zip(*((kind, fault.weight) for kind, fault in FAULTS.items()), strict=True)
    planned = []
    at = begin
    while (at := at + chance.expovariate(1 / every)) < end:
        kind = chance.choices(kinds, weights)[0]
        if kind == "upgrade" and at > begin + (end - begin) * UPGRADES:
            kind = "reload"
        planned.append(Planned(at, kind, chance.randrange(2**32)))
    return planned


def do(fault: Planned, target: Target) -> Happened:
    """Do one; a process that it was meant for may have gone, or what it does may be cut by the one before."""
    began = time.monotonic()
    what = "broken off"
    with contextlib.suppress(OSError, IndexError, EOFError, AssertionError):
        what = FAULTS[fault.kind].do(target, random.Random(fault.seed))
    return Happened(fault.kind, began, time.monotonic(), what)


def _signal_worker(number: int) -> Do:
    def send(target: Target, chance: random.Random) -> str:
        pid = chance.choice(target.workers())
        os.kill(pid, number)
        return f"worker {pid}"

    return send


def _kill_agent(target: Target, chance: random.Random) -> str:
    pid = target.lookup()
    os.kill(pid, signal.SIGKILL)
    time.sleep(5)  # one that dies again and again is started again more and more slowly
    return f"lookup {pid}"


def _kill_admin(target: Target, chance: random.Random) -> str:
    pid = target.admin()
    os.kill(pid, signal.SIGKILL)
    return f"admin {pid}"


def _stop_a_while(target: Target, chance: random.Random) -> str:
    pid = chance.choice([*target.workers(), target.lookup(), target.supervisor])
    os.kill(pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.1, HANG / 3))
    os.kill(pid, signal.SIGCONT)
    return f"process {pid}"


def _hang(target: Target, chance: random.Random) -> str:
    """Stopped for good: the server has to see to it itself."""
    pid = chance.choice(target.workers())
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 60
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.1)
    return f"worker {pid}"


def _to_supervisor(number: int) -> Do:
    def send(target: Target, chance: random.Random) -> str:
        os.kill(target.supervisor, number)
        return f"supervisor {target.supervisor}"

    return send


def _rotate_log(target: Target, chance: random.Random) -> str:
    number = len(target.logs())
    with contextlib.suppress(FileNotFoundError):
        target.log.rename(f"{target.log}.{number}")
    os.kill(target.supervisor, signal.SIGUSR1)
    return f"log number {number}"


def _change_users(target: Target, chance: random.Random) -> str:
    make_user(target.users, "somebody", str(chance.random()))
    return str(target.users)


def _crowd(target: Target, chance: random.Random) -> str:
    """Connections that say half a greeting and stay."""
    with contextlib.ExitStack() as stack:
        for _ in range(chance.randrange(20, 150)):
            stack.enter_context(_from_elsewhere(target)).sendall(b"\x05")
        time.sleep(chance.uniform(0.5, 3))
    return "silent clients"


def _fill(target: Target, chance: random.Random) -> str:
    """As many tunnels as there may be: everybody else waits."""
    with contextlib.ExitStack() as stack:
        for _ in range(THREADS * WORKERS + 20):
            stack.enter_context(_from_elsewhere(target)).sendall(b"\x05\x01\x00")
        time.sleep(chance.uniform(0.2, 0.8))
    return f"{THREADS * WORKERS + 20} clients at once"


def _from_elsewhere(target: Target) -> socket.socket:
    return socket.create_connection(target.endpoint, 60, (ELSEWHERE, 0))


def _upgrade(target: Target, chance: random.Random) -> str:
    before = target.supervisor
    return f"from {before} to {target.supervisor}" if target.upgrade() else f"{before} stays"


def _more_or_fewer(target: Target, chance: random.Random) -> str:
    number = len(target.serving())
    more = number <= FEWEST or (number < MOST and chance.random() < 0.5)
    os.kill(target.supervisor, signal.SIGTTIN if more else signal.SIGTTOU)
    return f"from {number} to {number + (1 if more else -1)}"


def _stall(target: Target, chance: random.Random) -> str:
    """Clients that ask for much and read nothing."""
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(Client(target.endpoint))
            client.open("127.0.0.1", target.origin, USER, PASSWORD)
            client.sock.sendall(b"S\x10\x00\x00\x00")
        time.sleep(chance.uniform(1, 5))
    return "ten clients that do not read"


def _squeeze(target: Target, chance: random.Random) -> str:
    """No descriptor left in any worker, for a while."""
    limits = {}
    for pid in target.workers():
        used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
        limits[pid] = Path(f"/proc/{pid}/limits").read_text().split("Max open files")[1].split()[0]
        _limit(target, pid, str(used // 2))
    time.sleep(chance.uniform(0.5, 3))
    for pid, limit in limits.items():
        _limit(target, pid, limit)
    return "descriptors"


def _limit(target: Target, pid: int, soft: str) -> None:
    """As the account of the worker, who may do that to itself."""
    status = Path(f"/proc/{pid}/status").read_text()
    uid, gid = (int(status.split(f"{name}:")[1].split()[0]) for name in ("Uid", "Gid"))
    words = ["prlimit", "--pid", str(pid), f"--nofile={soft}:"]
    as_them = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}
    subprocess.run(words, check=False, capture_output=True, **as_them)  # type: ignore[call-overload]


_NOTHING = frozenset[str]()
_CUT = frozenset({"cut"})

FAULTS: Mapping[str, Fault] = {
    "worker killed": Fault(6, _CUT, _signal_worker(signal.SIGKILL)),
    "worker crashes": Fault(3, _CUT, _signal_worker(signal.SIGSEGV)),
    "worker hangs": Fault(1, _CUT, _hang),
    "stopped a while": Fault(3, _NOTHING, _stop_a_while),
    "lookup killed": Fault(2, _NOTHING, _kill_agent),
    "admin killed": Fault(1, _NOTHING, _kill_admin),
    "reload": Fault(4, _NOTHING, _to_supervisor(signal.SIGHUP)),
    "upgrade": Fault(2, _NOTHING, _upgrade),
    "more or fewer workers": Fault(2, _NOTHING, _more_or_fewer),
    "log rotated": Fault(2, _NOTHING, _rotate_log),
    "users changed": Fault(2, _NOTHING, _change_users),
    "silent crowd": Fault(2, _NOTHING, _crowd),
    # Who waits for a password to be checked is a stranger yet, and of too many strangers some have to go.
    "full house": Fault(1, _CUT, _fill),
    "readers stall": Fault(2, _NOTHING, _stall),
    "no descriptors": Fault(2, frozenset({"refused"}), _squeeze),
}


def excused(how: str, began: float, ended: float, happened: Iterator[Happened] | list[Happened]) -> bool:
    """Whether any fault excuses a session that ended so."""
    return any(fault.excuses(how, began, ended) for fault in happened)
