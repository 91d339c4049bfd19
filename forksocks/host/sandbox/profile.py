"""What each kind of process needs; everything else is taken from it."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20

# A thread at its most: two sockets, two pipes for splice, and attempts that race to connect.
DESCRIPTORS_A_THREAD = 8
DESCRIPTORS_BESIDE = 512
# A thread's stack and what its session holds, with room for the allocator's ways.
MEMORY_A_THREAD = MIB
LEAST_MEMORY = 2048 * MIB
# Threads beside the sessions' (main, log), and those of the lookup agent for each worker.
THREADS_BESIDE = 32
# Sets of processes that run under one account at a time: one serves, others drain after reloads.
SETS = 8

DNS = 53  # also over TCP, when an answer is long


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of process.

    descriptors: RLIMIT_NOFILE. memory: RLIMIT_DATA, bytes. threads: RLIMIT_NPROC, of the whole account.
    readable: directories whose files may be read; a process without any gets an empty root. dials: TCP ports
    that may be connected to, None for any. listens: TCP ports that may be bound beside free ones.
    by_interface: whether it chooses the interface by which its connections leave.
    """

    name: str
    descriptors: int
    memory: int
    threads: int
    readable: tuple[str, ...] = ()
    dials: tuple[int, ...] | None = None
    listens: frozenset[int] = frozenset()
    by_interface: bool = False


def profiles(
    workers: int, threads: int, listens: frozenset[int] = frozenset(), by_interface: bool = False
) -> dict[str, Profile]:
    """The profile of each role, for `workers` of at most `threads` sessions each.

    listens: ports where peers come to (BIND). by_interface: rules name interfaces to leave by.
    """
    of_account = SETS * (workers + 1) * (threads + THREADS_BESIDE)
    return {
        "worker": Profile(
            "worker",
            descriptors=threads * DESCRIPTORS_A_THREAD + DESCRIPTORS_BESIDE,
            memory=max(LEAST_MEMORY, threads * MEMORY_A_THREAD + 512 * MIB),
            threads=of_account,
            listens=listens,
            by_interface=by_interface,
        ),
        # Names: nsswitch.conf, hosts, resolv.conf and whoever writes it; the libraries that these name.
        "lookup": Profile(
            "lookup",
            descriptors=4096,
            memory=LEAST_MEMORY,
            threads=of_account,
            readable=("/etc", "/run", "/var/run", "/lib", "/lib64", "/usr", "/var/lib/sss", "/nix/store"),
            dials=(DNS,),
        ),
        # It only reads what is mapped already, and answers on one unix socket.
        "admin": Profile("admin", descriptors=256, memory=LEAST_MEMORY, threads=of_account, dials=()),
    }
