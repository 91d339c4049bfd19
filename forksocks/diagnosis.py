"""What `forksocksctl doctor` asks of a machine for a configuration, check by check.

A check yields findings: how it stands, what that costs at the configured capacity, and the line that mends
it. WRONG is what keeps the server from doing what it was configured for; ADVICE what makes it slower or
weaker. Nothing is changed, and nothing is sent but a question to each name server.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from forksocks import preflight
from forksocks.config.load import Loaded
from forksocks.config.model import AuthMethod, Config, RelayKind, SandboxMode
from forksocks.host import clock, kernel, machine, nameservers
from forksocks.host.ceilings import Ceilings
from forksocks.process import limits
from forksocks.verbs.tables import size

OK, ADVICE, WRONG = "ok", "advice", "wrong"
PAGE = 4096
A_PIPE = 16  # pages of a pipe as it comes (pipe(7)); shorter ones are not used
# Memory maps of a worker that are no thread's: libraries, arenas. A thread's stack and its guard are two.
MAPS_BESIDE, MAPS_A_THREAD = 1024, 2
PATIENCE = 2.0  # seconds for a name server
SYSCTL = "sysctl -w {}; to keep it: echo '{}' >> /etc/sysctl.d/60-forksocks.conf"
LAYERS = {
    "seccomp": "pip install 'forksocks[sandbox]' (Debian: apt install python3-seccomp)",
    "Landlock": "a kernel since 5.13 that is booted with landlock in lsm=",
    "no_new_privs": "a kernel since 3.5",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer: how it stands, what was found and costs, and what mends it ("" where there is nothing)."""

    check: str
    state: str
    text: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is asked about. path: of the configuration, None for the defaults."""

    loaded: Loaded
    path: Path | None
    ceilings: Ceilings = field(default_factory=Ceilings)

    @property
    def config(self) -> Config:
        """The settings."""
        return self.loaded.config

    @property
    def capacity(self) -> int:
        """How many connections at once it is configured for."""
        return self.config.server.workers * self.config.server.threads


def findings(patient: Patient) -> Iterator[Finding]:
    """Everything, in the order of the table."""
    for name, check in CHECKS:
        yield from (Finding(name, *each) for each in check(patient))


Answer = tuple[str, str, str] | tuple[str, str]


def configuration(patient: Patient) -> Iterator[Answer]:
    """What `check` finds: accounts, files, programs, rules."""
    problems = preflight.Preflight(patient.loaded, thorough=True).problems
    for each in problems:
        yield WRONG, str(each), f"correct {each.where}"
    if not problems:
        yield OK, f"{patient.path or 'the defaults'} can be served by"


def file_permissions(patient: Patient) -> Iterator[Answer]:
    """Who could change what the server believes, or read its keys."""
    config = patient.config
    found = []
    for path, unwanted, means in (
        (patient.path, stat.S_IWGRP | stat.S_IWOTH, "others may change the configuration"),
        (config.gssapi.keytab, stat.S_IRWXO | stat.S_IWGRP, "others may read or change the server's keys"),
    ):
        if path is not None and path.exists():
            mode = stat.S_IMODE(path.stat().st_mode)
            found.append(str(path))
            if mode & unwanted:
                yield WRONG, f"{path} has mode {mode:04o}: {means}", f"chmod {mode & ~unwanted:04o} {path}"
    folder = config.admin.socket.parent if config.admin.socket is not None else None
    if folder is not None and folder.is_dir():
        found.append(str(folder))
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            text = f"{folder} has mode {mode:04o}: others may put their socket in place of [admin] socket"
            yield WRONG, text, f"chmod o-w {folder}"
    if found:
        yield OK, f"looked at {', '.join(found)}"


def descriptors(patient: Patient) -> Iterator[Answer]:
    """RLIMIT_NOFILE of each process, and the machine's."""
    needs, has = limits.descriptors(patient.config), patient.ceilings.descriptors()
    cost = f"{patient.config.server.threads} threads a worker need {needs}"
    if has is None or has >= needs:
        yield OK, f"{_shown(has)} a process (RLIMIT_NOFILE); {cost}"
    else:
        text = f"{has} a process (RLIMIT_NOFILE); {cost}: it serves with fewer"
        yield (
            WRONG,
            text,
            f"LimitNOFILE={needs} in [Service] of the unit, or ulimit -n {needs} before a start",
        )
    name, all_needs = "fs.file-max", patient.config.server.workers * needs
    whole = patient.ceilings.sysctl(name)
    if whole is not None and whole < all_needs:
        yield (
            WRONG,
            f"{whole} for the machine ({name}); all workers need {all_needs}",
            _sysctl(name, all_needs),
        )


def tasks(patient: Patient) -> Iterator[Answer]:
    """TasksMax of systemd, pids.max, RLIMIT_NPROC, and what the kernel has."""
    needs, ceiling = limits.tasks(patient.config), patient.ceilings.tasks()
    cost = f"{patient.capacity} connections need {needs}, twice as many while a reload's old workers finish"
    if ceiling is None or ceiling.most >= needs:
        where = "" if ceiling is None else f" ({ceiling.name})"
        yield OK, f"{_shown(None if ceiling is None else ceiling.most)} processes and threads{where}; {cost}"
        return
    mends = {
        "pids.max": f"TasksMax=infinity in [Service] of the unit; in a container --pids-limit {2 * needs}",
        "RLIMIT_NPROC": f"LimitNPROC={2 * needs} in [Service] of the unit, or ulimit -u {2 * needs}",
    }
    mend = mends.get(ceiling.name) or _sysctl(ceiling.name, 2 * needs)
    where = f"{ceiling.name}{f', {ceiling.path}' if ceiling.path else ''}"
    yield WRONG, f"{ceiling.most} processes and threads ({where}); {cost}", mend


def memory_maps(patient: Patient) -> Iterator[Answer]:
    """vm.max_map_count: every thread has a stack."""
    needs = MAPS_BESIDE + MAPS_A_THREAD * patient.config.server.threads
    yield from _enough(patient, "vm.max_map_count", needs, f"the threads of a worker need {needs}")


def pipes(patient: Patient) -> Iterator[Answer]:
    """fs.pipe-user-pages-soft: beyond it there are no pipes worth a splice."""
    name = "fs.pipe-user-pages-soft"
    if patient.config.server.relay is RelayKind.COPY or not kernel.HAS_SPLICE:
        yield OK, "not used: bytes are copied"
        return
    pages, needs = patient.ceilings.sysctl(name), 2 * patient.capacity * A_PIPE
    if not pages or pages >= needs:  # 0 is no limit (pipe(7))
        yield OK, f"{size(pages * PAGE) if pages else 'no limit'} of pipes for the account ({name})"
        return
    text = (
        f"{size(pages * PAGE)} of pipes for the account ({name}): {pages // A_PIPE} directions that hold "
        f"bytes are spliced at a time, further ones copied; {patient.capacity} connections need {needs}"
    )
    yield ADVICE, text, _sysctl(name, needs)


def ephemeral_ports(patient: Patient) -> Iterator[Answer]:
    """net.ipv4.ip_local_port_range: what connections to one target, and UDP, take their ports from."""
    name = "net.ipv4.ip_local_port_range"
    found = patient.ceilings.sysctls(name)
    if len(found) != 2:
        yield OK, f"not told by this system ({name})"
        return
    has = found[1] - found[0] + 1
    text = f"{has} ports ({name}): as many connections to one address and port, or UDP associations, at once"
    if has >= patient.capacity:
        yield OK, text
    else:
        mend = _sysctl(name, "1024 65535")
        yield ADVICE, f"{text}; {patient.capacity} are configured for", mend


def accept_queue(patient: Patient) -> Iterator[Answer]:
    """net.core.somaxconn cuts every backlog."""
    needs = max((each.backlog for each in patient.config.listen), default=0)
    cost = f"backlog is {needs}: more at once than there is room for are sent away or have to try again"
    yield from _enough(patient, "net.core.somaxconn", needs, cost)


def conntrack(patient: Patient) -> Iterator[Answer]:
    """Both connections of a tunnel are followed by a firewall that follows any."""
    name, needs = "net.netfilter.nf_conntrack_max", 2 * patient.capacity
    if patient.ceilings.sysctl(name) is None:
        yield OK, "no firewall follows connections here"
        return
    now = patient.ceilings.sysctl("net.netfilter.nf_conntrack_count")
    yield from _enough(
        patient, name, needs, f"{patient.capacity} tunnels need {needs}; {now or 0} are followed now"
    )


def dns(patient: Patient) -> Iterator[Answer]:
    """Whether each name server says anything at all."""
    resolve = min((each.timeouts.resolve for each in patient.config.listen), default=PATIENCE)
    asked = nameservers.configured()
    silent = [each for each in asked if not nameservers.answers(each, min(PATIENCE, resolve))]
    if not silent:
        yield OK, f"{', '.join(asked)} answer"
        return
    which = ", ".join(silent)
    cost = f"every look-up waits for it first, and has {resolve:g} s in all ([timeouts] resolve)"
    if len(silent) == len(asked):
        cost = "no name can be looked up: clients get dns-failed"
    first = WRONG if silent[0] == asked[0] else ADVICE
    cost = cost if first is WRONG else "who comes after it in the list is asked without it"
    yield first, f"{which} does not answer: {cost}", f"correct the nameserver lines of {nameservers.FILE}"


def time(patient: Patient) -> Iterator[Answer]:
    """Who keeps the clock; rules with times and Kerberos need the right one."""
    config = patient.config
    needs = [word for word, asked in (
        ("times of rules", any(rule.times for rule in config.rule)),
        ("Kerberos", config.asks_for(AuthMethod.GSSAPI)),
    ) if asked]  # fmt: skip
    kept = clock.is_kept()
    if kept is None or kept:
        yield OK, "synchronized" if kept else "not told by this system"
        return
    cost = f"{' and '.join(needs)} go by it" if needs else "only the log's times go by it"
    mend = "timedatectl set-ntp true, or install chrony"
    yield WRONG if needs else ADVICE, f"nobody synchronizes the clock: {cost}", mend


def sandbox(patient: Patient) -> Iterator[Answer]:
    """The layers that workers could be confined with here."""
    mode = patient.config.server.sandbox
    if mode is SandboxMode.OFF:
        yield (
            ADVICE,
            "off: who takes a worker over has all that its account has",
            'sandbox = "auto" in [server]',
        )
        return
    layers = machine.sandbox_layers()
    missing = [each for each in layers if not each.offered and each.name in LAYERS]
    for each in missing:
        state = WRONG if mode is SandboxMode.REQUIRE else ADVICE
        yield state, f"{each}: a worker that is taken over is held back by less", LAYERS[each.name]
    if not missing:
        yield OK, ", ".join(str(each) for each in layers)


def _enough(patient: Patient, name: str, needs: int, cost: str) -> Iterator[Answer]:
    has = patient.ceilings.sysctl(name)
    if has is None:
        yield OK, f"not told by this system ({name})"
    elif has >= needs:
        yield OK, f"{has} ({name}); {_first(cost)}"
    else:
        yield WRONG, f"{has} ({name}); {cost}", _sysctl(name, needs)


def _first(cost: str) -> str:
    """What is needed, without what comes of less."""
    return cost.partition(":")[0]


def _shown(has: int | None) -> str:
    return "no limit" if has is None else str(has)


def _sysctl(name: str, value: object) -> str:
    return SYSCTL.format(f"{name}='{value}'" if " " in str(value) else f"{name}={value}", f"{name} = {value}")


Check = Callable[[Patient], Iterator[Answer]]
CHECKS: tuple[tuple[str, Check], ...] = (
    ("configuration", configuration),
    ("permissions", file_permissions),
    ("descriptors", descriptors),
    ("tasks", tasks),
    ("maps", memory_maps),
    ("pipes", pipes),
    ("ports", ephemeral_ports),
    ("queue", accept_queue),
    ("conntrack", conntrack),
    ("dns", dns),
    ("clock", time),
    ("sandbox", sandbox),
)
