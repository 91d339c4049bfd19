"""What somebody tries who already executes Python in a worker: one function for each attempt.

An attempt that returns has succeeded; one that raises has been denied; some end the worker. Everything is
imported here, before the worker has nothing left to import from.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
# <asm/unistd.h>: x86_64, and the generic table that every younger architecture has.
NUMBERS = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "bpf": (321, 280),
    "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "userfaultfd": (323, 282),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "mount": (165, 40), "umount2": (166, 39),
    "setns": (308, 268), "unshare": (272, 97), "add_key": (248, 217), "keyctl": (250, 219),
    "open_by_handle_at": (304, 265), "capset": (126, 91), "seccomp": (317, 277), "personality": (135, 92),
    "landlock_create_ruleset": (444, 444), "init_module": (175, 105), "reboot": (169, 142),
    "clock_settime": (227, 112), "sethostname": (170, 161), "swapon": (167, 224), "fsopen": (430, 430),
    "move_mount": (429, 429), "open_tree": (428, 428), "clone3": (435, 435), "shmget": (29, 194),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "inotify_init1": (294, 26),
    "rt_sigqueueinfo": (129, 138), "tgkill": (234, 131), "tkill": (200, 130), "ioprio_set": (251, 30),
    "sched_setscheduler": (144, 119), "syslog": (103, 116), "vmsplice": (278, 75), "kcmp": (312, 272),
    "process_madvise": (440, 440), "mprotect": (10, 226), "madvise": (28, 233), "mlock": (149, 228),
    "pivot_root": (155, 41), "quotactl": (179, 60), "execveat": (322, 281), "timer_create": (222, 107),
    "name_to_handle_at": (303, 264), "openat2": (437, 437), "process_vm_writev": (311, 271),
}  # fmt: skip


@dataclass
class Around:
    """What the attacker finds in the process that he has taken over, and what the test tells him."""

    supervisor: int = 0
    siblings: list[int] = field(default_factory=list)
    worker: Any = None
    log: Any = None
    strangers: list[Any] = field(default_factory=list)  # boards, claims and bans of others


AROUND = Around()
ATTEMPTS: dict[str, Callable[[], object]] = {}
FATAL: set[str] = set()
POSSIBLE: set[str] = set()


def attempt(function: Callable[[], object]) -> Callable[[], object]:
    """It has to be denied."""
    ATTEMPTS[function.__name__] = function
    return function


def fatal(function: Callable[[], object]) -> Callable[[], object]:
    """It has to end the worker, and to raise an alarm."""
    FATAL.add(function.__name__)
    return attempt(function)


def possible(function: Callable[[], object]) -> Callable[[], object]:
    """No sandbox prevents it: SECURITY.md says so."""
    POSSIBLE.add(function.__name__)
    return attempt(function)


def call(name: str, *arguments: object) -> int:
    """A system call by name, without the C library's help. Raises OSError."""
    return raw(NUMBERS[name][0 if X86 else 1], *arguments)


def raw(number: int, *arguments: object) -> int:
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    LIBC.syscall.restype = ctypes.c_long
    answer: int = LIBC.syscall(ctypes.c_long(number), *words)
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return answer


def read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    return os.read(descriptor, 100)


def each(name: str, tries: Iterable[Callable[[], object]], kind: Callable[..., object] = attempt) -> None:
    """Attempts that differ in one word."""
    for number, function in enumerate(tries, 1):
        function.__name__ = f"{name}{number}"
        kind(function)


# Files


@attempt
def read_passwd() -> object:
    return read("/etc/passwd")


@attempt
def read_shadow() -> object:
    return read("/etc/shadow")


@attempt
def read_users_file() -> object:
    return read(str(AROUND.worker._config.auth.users))


@attempt
def read_our_own_code() -> object:
    return read(__file__)


@attempt
def read_proc_sys() -> object:
    return read("/proc/sys/kernel/hostname")


@attempt
def read_own_memory() -> object:
    return read("/proc/self/mem")


@attempt
def read_the_supervisors_environment() -> object:
    return read(f"/proc/{AROUND.supervisor}/environ")


@attempt
def read_by_openat2() -> object:
    how = struct.pack("=QQQ", os.O_RDONLY, 0, 0)
    return call("openat2", -100, b"/etc/passwd", how, len(how))


@attempt
def create_a_file() -> object:
    return os.open("/tmp/forksocks-attack", os.O_CREAT | os.O_WRONLY)


@attempt
def create_a_file_without_a_name() -> object:
    return os.open("/tmp", os.O_TMPFILE | os.O_WRONLY)


@attempt
def truncate_a_file() -> None:
    os.truncate("/etc/hosts", 0)


@attempt
def make_a_directory() -> None:
    os.mkdir("/forksocks-attack")


@attempt
def list_the_root() -> object:
    return os.listdir("/")


@attempt
def list_the_working_directory() -> object:
    return os.listdir(".")


@attempt
def look_at_a_file() -> object:
    return os.stat("/etc/passwd")


@attempt
def change_a_mode() -> None:
    os.chmod("/tmp", 0o777)


@attempt
def rename_a_file() -> None:
    os.rename("/etc/hosts", "/etc/hosts2")


@attempt
def remove_a_file() -> None:
    os.unlink("/etc/hosts")


@attempt
def link_a_file() -> None:
    os.symlink("/etc/shadow", "/tmp/forksocks-attack")


@attempt
def watch_a_directory() -> object:
    return call("inotify_init1", 0)


@attempt
def name_a_handle() -> object:
    return call("name_to_handle_at", -100, b"/etc/passwd", bytes(200), bytes(8), 0)


@attempt
def load_a_library() -> object:
    return ctypes.CDLL("libresolv.so.2")


@attempt
def import_a_module() -> object:
    return importlib.import_module("wave")


@fatal
def open_by_handle() -> object:
    return call("open_by_handle_at", 3, bytes(64), 0)


@fatal
def change_the_root() -> None:
    os.chroot("/proc/1/root")


@fatal
def pivot_the_root() -> object:
    return call("pivot_root", b".", b".")


# Other programs and processes


@fatal
def execute() -> object:
    return os.execv("/bin/sh", ["sh", "-c", "id"])


@fatal
def execute_a_descriptor() -> object:
    return call("execveat", 3, b"", None, None, 0x1000)


@fatal
def spawn() -> object:
    return os.posix_spawn("/bin/sh", ["sh"], {})


@fatal
def fork() -> object:
    return os._exit(0) if os.fork() == 0 else None


@attempt
def clone3() -> object:
    arguments = struct.pack("=8Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    return os._exit(0) if call("clone3", arguments, len(arguments)) == 0 else None


@fatal
def trace_a_sibling() -> object:
    return call("ptrace", 16, AROUND.siblings[0], 0, 0)


@fatal
def read_a_siblings_memory() -> object:
    return call("process_vm_readv", AROUND.siblings[0], None, 0, None, 0, 0)


@fatal
def write_a_siblings_memory() -> object:
    return call("process_vm_writev", AROUND.siblings[0], None, 0, None, 0, 0)


@fatal
def open_a_sibling() -> object:
    return call("pidfd_open", AROUND.siblings[0], 0)


@fatal
def take_a_siblings_descriptor() -> object:
    return call("pidfd_getfd", 3, 0, 0)


@fatal
def signal_a_sibling_by_descriptor() -> object:
    return call("pidfd_send_signal", 3, signal.SIGKILL, None, 0)


@fatal
def compare_with_a_sibling() -> object:
    return call("kcmp", os.getpid(), AROUND.siblings[0], 0, 0, 0)


@attempt
def kill_the_supervisor() -> None:
    os.kill(AROUND.supervisor, signal.SIGKILL)


@attempt
def kill_a_sibling() -> None:
    os.kill(AROUND.siblings[0], signal.SIGKILL)


@attempt
def kill_everybody() -> None:
    os.kill(-1, signal.SIGKILL)


@attempt
def kill_the_process_group() -> None:
    os.killpg(0, signal.SIGTERM)


@attempt
def kill_a_siblings_thread() -> object:
    return call("tgkill", AROUND.siblings[0], AROUND.siblings[0], signal.SIGKILL)


@attempt
def kill_a_siblings_thread_the_old_way() -> object:
    return call("tkill", AROUND.siblings[0], signal.SIGKILL)


@attempt
def queue_a_signal() -> object:
    return call("rt_sigqueueinfo", AROUND.siblings[0], signal.SIGTERM, bytes(128))


@attempt
def signal_by_owner() -> object:
    with socket.socket() as sock:
        fcntl.fcntl(sock, fcntl.F_SETSIG, signal.SIGKILL)
        return fcntl.fcntl(sock, fcntl.F_SETOWN, AROUND.siblings[0])


@attempt
def limit_a_sibling() -> object:
    return resource.prlimit(AROUND.siblings[0], resource.RLIMIT_NOFILE, (3, 3))


@attempt
def starve_a_sibling() -> None:
    os.sched_setaffinity(AROUND.siblings[0], {0})


@attempt
def slow_a_sibling() -> None:
    os.setpriority(os.PRIO_PROCESS, AROUND.siblings[0], 19)


@attempt
def idle_a_siblings_disk() -> object:
    return call("ioprio_set", 1, AROUND.siblings[0], 3 << 13)


@attempt
def schedule_in_real_time() -> object:
    return call("sched_setscheduler", 0, 1, struct.pack("=i", 99))


# Rights


@fatal
def become_root() -> None:
    os.setuid(0)


@fatal
def become_somebody() -> None:
    os.setresgid(0, 0, 0)


@fatal
def join_groups() -> None:
    os.setgroups([0])


@fatal
def take_capabilities() -> object:
    return call("capset", struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", *[0xFFFFFFFF] * 6))


@fatal
def make_a_user_namespace() -> object:
    return call("unshare", 0x10000000)


@fatal
def enter_a_namespace() -> object:
    return call("setns", 3, 0)


@fatal
def mount() -> object:
    return call("mount", b"none", b"/", b"tmpfs", 0, None)


@fatal
def unmount() -> object:
    return call("umount2", b"/", 2)


@fatal
def open_a_file_system() -> object:
    return call("fsopen", b"tmpfs", 0)


@fatal
def clone_a_mount() -> object:
    return call("open_tree", -100, b"/", 1)


@fatal
def move_a_mount() -> object:
    return call("move_mount", -100, b"/", -100, b"/", 0)


@fatal
def load_a_module() -> object:
    return call("init_module", b"", 0, b"")


@fatal
def load_a_kernel_program() -> object:
    return call("bpf", 0, bytes(120), 120)


@fatal
def use_io_uring() -> object:
    return call("io_uring_setup", 1, bytes(120))


@fatal
def use_userfaultfd() -> object:
    return call("userfaultfd", 1)


@fatal
def count_events() -> object:
    return call("perf_event_open", bytes(120), 0, -1, -1, 0)


@fatal
def store_a_key() -> object:
    return call("add_key", b"user", b"x", b"y", 1, -3)


@fatal
def use_keys() -> object:
    return call("keyctl", 0, -3, 0)


@fatal
def change_personality() -> object:
    return call("personality", 0x0400000)


@fatal
def filter_once_more() -> object:
    return call("seccomp", 1, 0, bytes(16))


@fatal
def ask_about_landlock() -> object:
    return call("landlock_create_ruleset", None, 0, 1)


@fatal
def restart_the_machine() -> object:
    return call("reboot", 0, 0, 0, None)


@fatal
def set_the_clock() -> object:
    return call("clock_settime", 0, struct.pack("=qq", 0, 0))


@fatal
def name_the_machine() -> object:
    return call("sethostname", b"x", 1)


@fatal
def swap() -> object:
    return call("swapon", b"/dev/null", 0)


@fatal
def set_quotas() -> object:
    return call("quotactl", 0, b"/dev/null", 0, None)


@fatal
def advise_about_a_sibling() -> object:
    return call("process_madvise", 3, None, 0, 0, 0)


if X86:

    @fatal
    def call_as_x32() -> object:
        return raw(0x40000000 | 39)


@attempt
def read_the_kernels_log() -> object:
    return call("syslog", 3, bytes(100), 100)


@attempt
def become_dumpable() -> object:
    if LIBC.prctl(4, 1, 0, 0, 0) < 0:  # PR_SET_DUMPABLE
        raise OSError(ctypes.get_errno(), "prctl")
    return None


@attempt
def become_traceable() -> object:
    if LIBC.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0) < 0:  # PR_SET_PTRACER
        raise OSError(ctypes.get_errno(), "prctl")
    return None


@attempt
def raise_a_limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))


@attempt
def ask_for_a_core() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))


@attempt
def open_too_many() -> object:
    opened = []
    try:
        opened += [socket.socket() for _ in range(100_000)]
    finally:
        for sock in opened:
            sock.close()
    return None


@attempt
def get_the_listener_below() -> object:
    """Descriptors below RLIMIT_NOFILE may be shut down."""
    return os.dup2(listener().fileno(), 200, inheritable=False)


# Memory


@attempt
def take_three_gigabytes() -> object:
    return bytearray(3 << 30)


@attempt
def lock_memory() -> object:
    memory = mmap.mmap(-1, 1 << 20)
    return call("mlock", address(memory), 1 << 20)


@attempt
def map_code() -> object:
    return mmap.mmap(-1, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


@attempt
def make_data_code() -> object:
    memory = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE)
    return call("mprotect", address(memory), 4096, 5)


@attempt
def make_a_callback() -> object:
    return ctypes.CFUNCTYPE(None)(lambda: None)


@fatal
def make_a_memory_file() -> object:
    return os.memfd_create("x")


@fatal
def make_secret_memory() -> object:
    return call("memfd_secret", 0)


@attempt
def share_memory() -> object:
    return call("shmget", 0, 4096, 0o1666)


@attempt
def share_messages() -> object:
    return call("msgget", 0, 0o1666)


@attempt
def share_semaphores() -> object:
    return call("semget", 0, 1, 0o1666)


@attempt
def open_a_message_queue() -> object:
    return call("mq_open", b"x", os.O_CREAT | os.O_RDWR, 0o666, None)


@attempt
def start_a_timer() -> object:
    return call("timer_create", 0, None, bytes(8))


def address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


# Sockets


@attempt
def bind_a_low_port() -> None:
    socket.socket().bind(("127.0.0.1", 80))


@attempt
def bind_a_fixed_port() -> None:
    socket.socket().bind(("127.0.0.1", 31337))


@attempt
def bind_our_own_port() -> None:
    taken = listener().getsockname()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(taken)


def bad_sockets() -> Iterable[Callable[[], object]]:
    for words in (
        (socket.AF_PACKET, socket.SOCK_RAW, 3),
        (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
        (socket.AF_INET, socket.SOCK_STREAM, 262),  # MPTCP
        (socket.AF_INET, socket.SOCK_SEQPACKET, 132),  # SCTP
        (socket.AF_INET, socket.SOCK_DGRAM, 136),  # UDP-Lite
        (socket.AF_NETLINK, socket.SOCK_RAW, 0),
        (socket.AF_NETLINK, socket.SOCK_RAW, 9),  # audit
        (socket.AF_ALG, socket.SOCK_SEQPACKET, 0),
        (socket.AF_VSOCK, socket.SOCK_STREAM, 0),
        (socket.AF_UNIX, socket.SOCK_STREAM, 0),
        (socket.AF_UNIX, socket.SOCK_DGRAM, 0),
        (44, socket.SOCK_RAW, 0),  # XDP
    ):
        yield lambda words=words: socket.socket(*words)  # type: ignore[misc]


each("bad_socket_", bad_sockets())


@attempt
def make_a_pair() -> object:
    return socket.socketpair()


@attempt
def list_interfaces() -> object:
    with socket.socket() as sock:
        return fcntl.ioctl(sock, 0x8912, bytes(40))  # SIOCGIFCONF


def bad_options() -> Iterable[Callable[[], object]]:
    for level, name, value in (
        (socket.SOL_SOCKET, 15, b"\1\0\0\0"),  # SO_REUSEPORT
        (socket.SOL_SOCKET, 25, b"lo\0"),  # SO_BINDTODEVICE
        (socket.SOL_SOCKET, 26, bytes(16)),  # SO_ATTACH_FILTER
        (socket.SOL_SOCKET, 36, b"\1\0\0\0"),  # SO_MARK
        (socket.SOL_SOCKET, 12, b"\6\0\0\0"),  # SO_PRIORITY
        (socket.IPPROTO_IP, 4, bytes(4)),  # IP_OPTIONS
        (socket.IPPROTO_IP, 15, b"\1\0\0\0"),  # IP_FREEBIND
        (socket.IPPROTO_IP, 19, b"\1\0\0\0"),  # IP_TRANSPARENT
        (socket.IPPROTO_TCP, 31, b"tls\0"),  # TCP_ULP
        (socket.IPPROTO_TCP, 19, b"\1\0\0\0"),  # TCP_REPAIR
    ):
        yield lambda level=level, name=name, value=value: socket.socket().setsockopt(level, name, value)  # type: ignore[misc]


each("bad_option_", bad_options())


@attempt
def type_into_a_terminal() -> object:
    return fcntl.ioctl(0, 0x5412, b"x")  # TIOCSTI


@attempt
def splice_from_memory() -> object:
    reader, writer = os.pipe()
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("=QQ", ctypes.addressof(buffer), 8)
    return call("vmsplice", writer, vector, 1, 0), reader


# What others share


def listener() -> socket.socket:
    found: socket.socket = AROUND.worker._around.listeners[0].socket
    return found


def control_line() -> socket.socket:
    found: socket.socket = AROUND.worker._around.control
    return found


def channel() -> socket.socket:
    found: socket.socket = AROUND.worker._around.names[0]
    return found


_SOMEWHERE = struct.pack("=HH4s8x", socket.AF_INET, 0, b"\x7f\0\0\1")


def harm(kind: str, find: Callable[[], socket.socket]) -> Iterable[Callable[[], object]]:
    """All that could be done to a socket that others go on using."""
    tries: dict[str, Callable[[socket.socket], object]] = {
        "shutdown": lambda sock: sock.shutdown(socket.SHUT_RDWR),
        "listen": lambda sock: sock.listen(0),
        "unblock": lambda sock: sock.setblocking(False),
        "unblock_by_fcntl": lambda sock: os.set_blocking(sock.fileno(), False),
        "dup": lambda sock: sock.dup(),
        "connect": lambda sock: raw(42 if X86 else 203, sock.fileno(), _SOMEWHERE, len(_SOMEWHERE)),
        "disconnect": lambda sock: raw(42 if X86 else 203, sock.fileno(), bytes(16), 16),
        "bind": lambda sock: raw(49 if X86 else 200, sock.fileno(), _SOMEWHERE, len(_SOMEWHERE)),
        "timeout": lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, bytes(16)),
        "buffer": lambda sock: sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1),
        "own": lambda sock: fcntl.fcntl(sock, fcntl.F_SETOWN, os.getpid()),
    }
    for name, harmful in tries.items():

        def function(harmful: Callable[[socket.socket], object] = harmful) -> object:
            return harmful(find())

        function.__name__ = f"{name}_{kind}"
        yield function


for _kind, _find in (("listener", listener), ("control_line", control_line), ("channel", channel)):
    for _function in harm(_kind, _find):
        attempt(_function)


@attempt
def send_the_listener_to_ourselves() -> object:
    return socket.send_fds(channel(), [b"x"], [listener().fileno()])


@attempt
def truncate_the_log() -> None:
    os.ftruncate(AROUND.log.fileno(), 0)


@attempt
def rewrite_the_log() -> object:
    return os.pwrite(AROUND.log.fileno(), b"x", 0)


@attempt
def wind_the_log_back() -> object:
    return os.lseek(AROUND.log.fileno(), 0, os.SEEK_SET)


@attempt
def unblock_the_log() -> None:
    os.set_blocking(AROUND.log.fileno(), False)


@attempt
def append_no_longer() -> object:
    return fcntl.fcntl(AROUND.log.fileno(), fcntl.F_SETFL, 0)


@attempt
def own_the_log() -> object:
    return fcntl.fcntl(AROUND.log.fileno(), fcntl.F_SETOWN, os.getpid())


@attempt
def write_to_others_memory() -> object:
    """The scoreboard's other parts are not mapped any more, others' claims and the bans only to be read."""
    written = 0
    for stranger in AROUND.strangers:
        try:
            stranger.writable[0:1] = b"x"
            written += 1
        except ValueError:  # closed
            continue
    if not written:
        raise PermissionError("nothing of others' is mapped")
    return written


@attempt
def write_the_users_version() -> object:
    """Held back, it would let a removed user's password be remembered."""
    try:
        return AROUND.worker._around.version.advance()
    except ValueError:  # closed
        raise PermissionError("not mapped to be written") from None


@attempt
def make_the_users_version_writable() -> object:
    number = AROUND.worker._around.version._memory.readable
    start = _start_of(number)
    return call("mprotect", start, mmap.PAGESIZE, 3)


@attempt
def empty_the_users_version() -> object:
    return call(
        "madvise", _start_of(AROUND.worker._around.version._memory.readable), mmap.PAGESIZE, 9
    )  # MADV_REMOVE


def _start_of(memory: mmap.mmap) -> int:
    """The address of a mapping that may only be read (PyObject_GetBuffer gives it to nobody else)."""
    view = (ctypes.c_byte * 128)()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(memory), view, 0)
    return int(ctypes.cast(view, ctypes.POINTER(ctypes.c_void_p))[0] or 0)


# What nothing prevents: it is what the proxy itself does, or belongs to this worker.


@possible
def dial_wherever_the_machine_can() -> None:
    """The egress guard is Python: an attacker in its process does without it."""
    with socket.socket() as sock:
        sock.connect(listener().getsockname())


@possible
def send_datagrams() -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.sendto(b"x", sock.getsockname())


@possible
def forge_a_log_line() -> object:
    return AROUND.log.notice("forged", by="attacker")


@possible
def take_clients_from_the_queue() -> object:
    """Its own sessions: their bytes, and their passwords, are the worker's business."""
    return AROUND.worker._sessions


@possible
def ask_the_agent_for_names() -> object:
    return AROUND.worker._original_resolve("localhost")


@possible
def lie_in_its_own_cell() -> object:
    AROUND.worker._around.board.writable[0:8] = bytes(8)
    return None


@possible
def lie_to_the_supervisor() -> None:
    """Its control line; the supervisor takes no pid, length or order from it."""
    for word in (
        b"",
        b"ready",
        b"failed x",
        b"refused x",
        b"sandbox x\t\0=\xff",
        b"\xff" * 4000,
        b"log " * 9,
    ):
        control_line().send(word)


@possible
def lie_to_the_agent() -> None:
    """Its channels, names' and passwords': who takes its place has to find them in order."""
    around = AROUND.worker._around
    for sock in (*around.names[:8], *around.passwords[:2]):
        for question in (
            b"",
            b"x",
            bytes(8),
            b"\xff" * 2000,
            bytes(8) + b"\xff",
            bytes(9),
            bytes(8) + b"a\0b",
        ):
            sock.send(question, socket.MSG_DONTWAIT)


@attempt
def start_threads_without_end() -> None:
    """Only an account of the server's own can be limited in its threads (RLIMIT_NPROC)."""
    enough = threading.Event()
    try:
        for _ in range(2000):
            threading.Thread(target=enough.wait, daemon=True).start()
    finally:
        enough.set()


@possible
def start_a_thread() -> None:
    thread = threading.Thread(target=list)
    thread.start()
    thread.join()
