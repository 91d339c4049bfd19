"""The order in which a child gives everything up; each step needs those before it.

    1  shared descriptors above RLIMIT_NOFILE, unknown ones closed     needs the old, higher limit
    2  the process's own sockets are opened: netlink, signals          by the caller
    3  limits
    4  an empty root                                                   needs root
    5  user, groups, capabilities
    6  not dumpable, no new privileges                                 a change of user undoes the first
    7  Landlock                                                        needs no new privileges
    8  the filter of system calls                                      would refuse all of the above
    9  threads                                                         by the caller

There must be one thread until the end: what is given up is given up by the calling thread, and inherited.
No PR_SET_PDEATHSIG: a child sees the supervisor's death by the end of its control line, and drains; a signal
would say the same a second time, and SIGKILL would break the promise to drain.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Collection, Iterable, Sequence

from forksocks.config.model import SandboxMode
from forksocks.host import linux
from forksocks.host.log import Log
from forksocks.host.sandbox import descriptors, landlock, limits, privileges, seccomp
from forksocks.host.sandbox.calls import BY_INTERFACE
from forksocks.host.sandbox.preload import preload
from forksocks.host.sandbox.privileges import Identity
from forksocks.host.sandbox.profile import Profile
from forksocks.host.sandbox.report import Layer, Report
from forksocks.host.sandbox.root import EmptyRoot

# What the layers answer where they are not to be had.
_REASONS = {
    errno.ENOSYS: "this kernel has none",
    errno.EOPNOTSUPP: "off in this kernel",
    errno.EPERM: "not permitted",
}


class Refused(Exception):
    """A layer is missing that is required; the text says which and why."""


class Sandbox:
    """Made by the supervisor before its first fork; `share` and `confine` are called by each child.

    identity: whom children become, None when they stay who they are.
    """

    def __init__(self, mode: SandboxMode, identity: Identity | None, profiles: dict[str, Profile]) -> None:
        self._mode = mode
        self._identity = identity
        self._profiles = profiles
        self._root: EmptyRoot | None = None
        self._no_root = ""
        self._descriptors = 0
        if mode is SandboxMode.OFF:
            return
        preload()
        with contextlib.suppress(seccomp.NoLibrary):
            seccomp.library()
        try:
            self._root = EmptyRoot()
        except OSError as error:
            self._no_root = error.strerror or str(error)

    def close(self) -> None:
        """Give back what only children needed, in a process that makes none of these."""
        if self._root is not None:
            self._root.close()
            self._root = None

    def trim_supervisor(self) -> None:
        """Take from the calling process, the parent, what it will not need; once everything is bound."""
        if self._mode is not SandboxMode.OFF:
            privileges.trim_supervisor()

    def share(
        self,
        role: str,
        shared: Sequence[socket.socket],
        log: Log,
        ask: Callable[[], object],
        kept: Sequence[int] = (),
    ) -> list[int]:
        """Step 1: keep what others have as well out of reach of most calls, and close what nobody named.

        shared: sockets. log, ask: see Log.prepare_for_sandbox. kept: other descriptors that stay;
        returns their numbers from here on. Raises OSError when the limit leaves no room.
        """
        if self._mode is SandboxMode.OFF:
            return list(kept)
        self._descriptors = base = descriptors.base(self._profiles[role].descriptors, len(shared) + 1)
        descriptors.silence_standard()
        staying = [log.fileno(), *(sock.fileno() for sock in shared), *kept]
        if self._root is not None:
            staying.append(self._root.fileno())
        descriptors.close_others(staying)
        # All of it is below before any of it is lifted: see `descriptors`.
        descriptors.lower_sockets(shared, base)
        numbers = [descriptors.lower(number, base) for number in kept]
        if self._root is not None:
            self._root.lower(base)
        log.prepare_for_sandbox(base, ask)
        descriptors.raise_sockets(shared, base + 1)
        return numbers

    def confine(self, role: str) -> Report:
        """Steps 3 to 8, in the child, before its first thread; returns what holds.

        Raises Refused where all layers are required and one is missing, or when nobody else could be become,
        and OSError or RuntimeError when root was not gone after it was given up.
        """
        if self._mode is SandboxMode.OFF:
            self._become()
            return Report()
        require_one_thread()
        report = Report(tuple(self._layers(self._profiles[role])))
        if report.missing and self._mode is SandboxMode.REQUIRE:
            raise Refused(f"the sandbox of {role} is incomplete: {report.missing}")
        return report

    def _layers(self, profile: Profile) -> Iterable[Layer]:
        yield attempt("limits", lambda: limits.apply(profile, self._descriptors, self._has_own_account))
        if not profile.readable:
            yield attempt("chroot", self._enter_root)
        if self._root is not None:
            self._root.close()
        yield self._give_up_root()
        yield attempt("no_new_privs", _refuse_privileges)
        yield attempt("Landlock", lambda: _restrict_files(profile))
        yield attempt("seccomp", lambda: _restrict_calls(profile, self._descriptors))

    @property
    def _has_own_account(self) -> bool:
        return self._identity is not None and self._identity.own

    def _enter_root(self) -> None:
        if self._root is None:
            raise OSError(self._no_root)
        self._root.enter()

    def _become(self) -> None:
        if self._identity is None:
            return
        try:
            privileges.become(self._identity)
        except OSError as error:  # a user namespace in which there is nobody else
            why = f"cannot become {self._identity.name}: {error.strerror or error}"
            raise Refused(
                f"{why}; where there is only root, --user root gives up its rights alone"
            ) from error

    def _give_up_root(self) -> Layer:
        """The one step that never goes on without: who was to become somebody else became it."""
        self._become()
        privileges.give_up_capabilities()
        if os.geteuid() == 0:
            return Layer("ids", holds=False, detail="is root")
        return Layer("ids", holds=True, detail=self._identity.name if self._identity else "")


def attempt(name: str, step: Callable[[], str | None]) -> Layer:
    """Do one step; it may say how much of it there is."""
    try:
        detail = step()
    except OSError as error:
        return Layer(name, holds=False, detail=_why(error))
    return Layer(name, holds=True, detail=detail or "")


def _why(error: OSError) -> str:
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def _refuse_privileges() -> str:
    if not linux.IS_LINUX:
        raise OSError("this system has none")
    privileges.hide_memory()
    return privileges.refuse_new_privileges()


def _restrict_files(profile: Profile) -> str:
    """Nothing outside shows Landlock, so what it forbids is tried."""
    detail = landlock.restrict(profile.readable, profile.dials, profile.listens)
    must_fail(lambda: os.listdir("/"), (errno.EACCES,))
    return detail


def _restrict_calls(profile: Profile, descriptors: int) -> None:
    seccomp.restrict(profile.name, descriptors, BY_INTERFACE if profile.by_interface else ())
    must_fail(lambda: os.getsid(0), (errno.ENOSYS,))  # in no list


def must_fail(attempt: Callable[[], object], errors: Collection[int]) -> None:
    """OSError unless an attempt fails with one of `errors`: a layer that does not hold must not count."""
    try:
        attempt()
    except OSError as error:
        if error.errno in errors:
            return
    raise OSError("it holds nothing back")


def require_one_thread() -> None:
    """Whatever a second thread does is not confined (clone(2)). RuntimeError if there is one."""
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError:  # no /proc: then nobody can say
        return
    if threads > 1:
        raise RuntimeError(f"{threads} threads where one is confined")
