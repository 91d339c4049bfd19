"""The filter of system calls (seccomp(2)), made by libseccomp from the table in `calls`.

libseccomp knows each architecture's numbers. Its Python module is Debian's python3-seccomp, or pyseccomp of
PyPI (the extra `sandbox`), which has the same names.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from forksocks.host import linux
from forksocks.host.sandbox import calls
from forksocks.host.sandbox.calls import Is, Own, Row, Rows, Test

MODULES = ("seccomp", "pyseccomp")
UNKNOWN = -1  # libseccomp's __NR_SCMP_ERROR
_OPTIMIZE_BY_TREE = 2  # SCMP_FLTATR_CTL_OPTIMIZE of seccomp_attr_set(3)


class NoLibrary(OSError):
    """There is no usable module; the text says how to get one."""


def library() -> Any:
    """Import the module; the supervisor does it, since pyseccomp runs ldconfig. Raises NoLibrary."""
    if not linux.IS_LINUX:
        raise NoLibrary("this system has none")
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except (ImportError, RuntimeError):  # pyseccomp's word for "no libseccomp.so.2"
            continue
    raise NoLibrary(_cure())


def _cure() -> str:
    """A virtual environment does not see the system's Python packages."""
    if sys.prefix != sys.base_prefix:
        return "pip install '.[sandbox]', or pyseccomp"
    return "install python3-seccomp"


def restrict(role: str, descriptors: int, more: Rows = ()) -> None:
    """Let the calling thread, and all that it starts, do what the table says of `role`, for good.

    descriptors: RLIMIT_NOFILE, from which on descriptors are shared. more: what it may do beside. Raises
    OSError.
    """
    module = library()
    table = build(module, role, descriptors, more)
    table.set_attr(module.Attr.CTL_TSYNC, 1)
    table.load()


def build(module: Any, role: str, descriptors: int, more: Rows = ()) -> Any:
    """A filter that is complete and not loaded."""
    table = module.SyscallFilter(module.ERRNO(errno.ENOSYS))
    table.set_attr(module.Attr.ACT_BADARCH, module.KILL_PROCESS)  # x32 and 32-bit calls mean other things
    table.set_attr(module.Attr.CTL_LOG, 1)
    if hasattr(module.Attr, "CTL_OPTIMIZE"):
        table.set_attr(module.Attr.CTL_OPTIMIZE, _OPTIMIZE_BY_TREE)
    allowed = (*calls.ALLOWED[role], *more)
    named = {name for name, *_ in allowed}
    add(module, table, module.ALLOW, allowed, descriptors)
    for error, rows in ((errno.ENOENT, calls.MISSING), (errno.EACCES, calls.DENIED)):
        add(module, table, module.ERRNO(error), [row for row in rows if row[0] not in named], descriptors)
    add(module, table, module.KILL_PROCESS, calls.FATAL, descriptors)
    return table


def add(module: Any, table: Any, action: int, rows: Sequence[Row], descriptors: int) -> None:
    """Add rows that this machine's libseccomp knows."""
    for name, *tests in rows:
        if number(module, name) != UNKNOWN:
            table.add_rule(action, name, *(comparison(module, test, descriptors) for test in tests))


def number(module: Any, name: str) -> int:
    """A call's number here: negative where the machine has none of that name, UNKNOWN if nobody has."""
    try:
        return int(module.resolve_syscall(module.Arch.NATIVE, name))
    except (ValueError, RuntimeError):
        return UNKNOWN


def comparison(module: Any, test: Test, descriptors: int) -> Any:
    """What libseccomp calls a test of an argument."""
    match test:
        case Is(at, value, mask):
            return module.Arg(at, module.MASKED_EQ, mask, value)
        case Own(at):
            return module.Arg(at, module.LT, descriptors)
    return module.Arg(test.at, module.EQ, os.getpid())
