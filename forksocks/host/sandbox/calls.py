"""The system calls of each kind of process: one table, read by `seccomp`.

What is in no list answers ENOSYS, as on a kernel that has never heard of it: libraries then try something
else. (clone3 hides its flags in memory, where no filter can look; after ENOSYS glibc uses clone.) A file call
of a process without files answers EACCES, which Python's import and linecache cope with. What only somebody
calls who has taken the process over ends it.

A row is a call and what its arguments have to be; several rows of one call are alternatives. Names that a
machine does not have are passed over.
"""

from __future__ import annotations

import fcntl
import os
import platform
import socket
from collections.abc import Iterable
from typing import NamedTuple

from forksocks.host import linux

ALL = 0xFFFF_FFFF  # an int's bits: the upper half of a register is nobody's promise


class Is(NamedTuple):
    """Argument `at`, of whose bits only `mask` counts, is `value`."""

    at: int
    value: int
    mask: int = ALL


class Own(NamedTuple):
    """Argument `at` is a descriptor below RLIMIT_NOFILE, so not one that others share."""

    at: int


class Self(NamedTuple):
    """Argument `at` is the calling process's number."""

    at: int


Test = Is | Own | Self
Row = tuple[str, *tuple[Test, ...]]
Rows = tuple[Row, ...]


def words(text: str) -> Rows:
    """Rows without tests."""
    return tuple((name,) for name in text.split())


# <sys/prctl.h>, <bits/ioctls.h>, <sched.h>
PR_SET_NAME = 15
FIONREAD, FIONBIO, FIOCLEX, FIONCLEX = 0x541B, 0x5421, 0x5451, 0x5450
CLONE_THREAD = 0x10000
# What glibc starts a thread with; musl adds CLONE_DETACHED.
A_THREAD, MUSL = 0x3D0F00, 0x400000
FLAGS_AT = 1 if platform.machine().startswith("s390") else 0  # clone(2), "C library/kernel differences"

_KIND = ALL ^ (getattr(socket, "SOCK_NONBLOCK", 0) | getattr(socket, "SOCK_CLOEXEC", 0))
_READ_ONLY = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | linux.O_TMPFILE & ~os.O_DIRECTORY
PROT_WRITE, PROT_EXEC = 2, 4
MAP_ANONYMOUS = 0x20

# Python itself: memory, threads, time, signals, its own end.
PYTHON: Rows = (
    *words("brk munmap mremap madvise"),
    ("mmap", Is(2, 0, PROT_EXEC), Is(3, MAP_ANONYMOUS, MAP_ANONYMOUS)),
    ("mmap2", Is(2, 0, PROT_EXEC), Is(3, MAP_ANONYMOUS, MAP_ANONYMOUS)),
    ("mprotect", Is(2, 0, PROT_EXEC)),
    ("clone", Is(FLAGS_AT, A_THREAD)),
    ("clone", Is(FLAGS_AT, A_THREAD | MUSL)),
    *words("futex futex_time64 sched_yield sched_getaffinity set_robust_list rseq exit exit_group"),
    *words("clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep"),
    *words("clock_nanosleep_time64 nanosleep gettimeofday time times getrusage getrandom"),
    *words("getpid getppid gettid getuid geteuid getgid getegid getuid32 geteuid32 getgid32 getegid32"),
    *words("rt_sigaction rt_sigprocmask rt_sigreturn sigreturn sigaltstack restart_syscall"),
    *words("rt_sigtimedwait rt_sigtimedwait_time64"),
    ("kill", Self(0)),
    ("tgkill", Self(0)),
    ("prctl", Is(0, PR_SET_NAME)),
    ("prlimit64", Is(0, 0), Is(2, 0)),  # asks, sets nothing
)

# Bytes in and out, and waiting for them.
BYTES: Rows = (
    *words("read readv write writev recv recvfrom recvmsg send sendto close poll ppoll ppoll_time64"),
    *words("getsockname getpeername getsockopt"),
    ("fcntl", Own(0), Is(1, fcntl.F_GETFD)),
    ("fcntl", Own(0), Is(1, fcntl.F_SETFD)),
    ("fcntl", Own(0), Is(1, fcntl.F_GETFL)),
    *(("ioctl", Own(0), Is(1, request)) for request in (FIONBIO, FIOCLEX, FIONCLEX, FIONREAD)),
    ("dup3", Own(0), Own(1)),  # a new log file takes the old one's number
    ("bind", Own(0)),
    ("connect", Own(0)),
    ("shutdown", Own(0)),
)

INTERNET: Rows = tuple(
    ("socket", Is(0, family), Is(1, kind, _KIND), Is(2, protocol))
    for family in (socket.AF_INET, socket.AF_INET6)
    for kind, protocol in (
        (socket.SOCK_STREAM, 0),
        (socket.SOCK_STREAM, socket.IPPROTO_TCP),
        (socket.SOCK_DGRAM, 0),
        (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    )
)

# Options that sessions set (host/kernel.py); missing are those that reach beyond a connection: REUSEPORT,
# ATTACH_FILTER, MARK, packet options, and but for rules that need it BINDTODEVICE.
OPTIONS = {
    socket.SOL_SOCKET: (
        "SO_KEEPALIVE", "SO_LINGER", "SO_OOBINLINE", "SO_RCVBUF", "SO_RCVTIMEO", "SO_REUSEADDR", "SO_SNDBUF",
        "SO_SNDTIMEO",
    ),
    socket.IPPROTO_TCP: (
        "TCP_CORK", "TCP_KEEPCNT", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_NODELAY", "TCP_NOTSENT_LOWAT",
        "TCP_QUICKACK", "TCP_USER_TIMEOUT",
    ),
    socket.IPPROTO_IP: ("IP_BIND_ADDRESS_NO_PORT", "IP_MTU_DISCOVER", "IP_RECVERR"),
    socket.IPPROTO_IPV6: ("IPV6_MTU_DISCOVER", "IPV6_RECVERR", "IPV6_V6ONLY"),
}  # fmt: skip
# Not in every Python's socket module; <bits/in.h>.
_NUMBERS = {
    "IP_BIND_ADDRESS_NO_PORT": 24, "IP_MTU_DISCOVER": 10, "IP_RECVERR": 11, "IPV6_MTU_DISCOVER": 23,
    "IPV6_RECVERR": 25, "TCP_NOTSENT_LOWAT": 25,
}  # fmt: skip


def _options() -> Iterable[Row]:
    for level, names in OPTIONS.items():
        for name in names:
            number = getattr(socket, name, _NUMBERS.get(name))
            if number is not None:
                yield "setsockopt", Own(0), Is(1, level), Is(2, number)


# A worker: clients, targets, pipes. No sendmsg: it could send a shared descriptor to itself, and receive it
# under a number that is its own.
WORKER: Rows = (
    *PYTHON,
    *BYTES,
    *INTERNET,
    *_options(),
    *words("accept accept4 splice pipe2"),
    ("listen", Own(0)),
    *(
        ("fcntl", Own(0), Is(1, number))
        for number in (linux.F_SETPIPE_SZ, linux.F_GETPIPE_SZ)
        if number is not None
    ),
)

# A worker whose rules name an interface. Which one, is in memory, where no filter looks.
BY_INTERFACE: Rows = tuple(
    ("setsockopt", Own(0), Is(1, socket.SOL_SOCKET), Is(2, option))
    for option in (linux.SO_BINDTODEVICE,)
    if option is not None
)

# The lookup agent: the resolver of the C library and the modules that it loads, and argon2.
LOOKUP: Rows = (
    *PYTHON,
    *BYTES,
    *INTERNET,
    *(
        ("socket", Is(0, socket.AF_UNIX), Is(1, kind, _KIND))
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    ),
    ("socket", Is(0, linux.AF_NETLINK), Is(1, socket.SOCK_RAW, _KIND), Is(2, 0)),
    ("setsockopt", Own(0)),
    *words("sendmmsg recvmmsg uname sysinfo getgroups"),
    ("sendmsg", Own(0)),
    ("open", Is(1, 0, _READ_ONLY)),
    ("openat", Is(2, 0, _READ_ONLY)),
    *words("access faccessat faccessat2 stat stat64 lstat lstat64 newfstatat fstatat64 fstat fstat64 statx"),
    *words("readlink readlinkat lseek _llseek pread64 preadv getdents64 getcwd statfs fstatfs"),
    # Libraries that nsswitch.conf names, from files; never what was written by ourselves.
    ("mmap", Is(2, 0, PROT_EXEC)),
    ("mmap", Is(2, PROT_EXEC, PROT_EXEC | PROT_WRITE), Is(3, 0, MAP_ANONYMOUS)),
    ("mmap2", Is(2, 0, PROT_EXEC)),
    ("mmap2", Is(2, PROT_EXEC, PROT_EXEC | PROT_WRITE), Is(3, 0, MAP_ANONYMOUS)),
    ("setpriority", Is(0, os.PRIO_PROCESS), Is(1, 0)),  # of the calling thread
)

# The admin process: one unix socket that it accepts from.
ADMIN: Rows = (*PYTHON, *BYTES, *words("accept accept4"))

ALLOWED: dict[str, Rows] = {"worker": WORKER, "lookup": LOOKUP, "admin": ADMIN}

# Of files, where there are none: looking for one says "no such file", since libraries go on without a
# configuration that is not there, but not without one that they may not see (libkrb5's profiles).
MISSING = words(
    "access faccessat faccessat2 stat stat64 lstat lstat64 newfstatat fstatat64 statx",
)
# All else says "permission denied". (Landlock answers those that have files.)
DENIED = words(
    """
    open openat openat2 creat
    fstat fstat64 readlink readlinkat getdents getdents64 getcwd chdir fchdir statfs fstatfs
    truncate ftruncate
    mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat mknod mknodat
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat utime utimes utimensat futimesat
    inotify_init inotify_init1 inotify_add_watch name_to_handle_at sendmsg
    """
)

# Neither forksocks nor Python nor the C library calls these here: whoever does has taken the process over.
FATAL: Rows = (
    *words("execve execveat fork vfork ptrace process_vm_readv process_vm_writev process_madvise"),
    *words("process_mrelease kcmp pidfd_open pidfd_getfd pidfd_send_signal bpf perf_event_open"),
    *words("io_uring_setup io_uring_enter io_uring_register userfaultfd memfd_create memfd_secret"),
    *words("mount umount umount2 mount_setattr move_mount open_tree fsopen fsconfig fsmount fspick"),
    *words("pivot_root chroot unshare setns add_key request_key keyctl open_by_handle_at"),
    *words("setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups"),
    *words("setuid32 setgid32 setreuid32 setregid32 setresuid32 setresgid32 setgroups32 capset seccomp"),
    *words("landlock_create_ruleset landlock_add_rule landlock_restrict_self personality"),
    *words("init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff"),
    *words("acct quotactl settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname"),
    *words("iopl ioperm modify_ldt vhangup lookup_dcookie nfsservctl"),
    ("clone", Is(FLAGS_AT, 0, CLONE_THREAD)),
)
