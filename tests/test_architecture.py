"""The rules of the design that a program can check: which way imports run, who may touch what, how long.

A rule takes a module and yields what is wrong with it. Each has snippets that it must object to, so that a
rule that no longer sees anything fails too.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system import elsewhere

ROOT = Path(__file__).parent.parent
LONGEST_MODULE = 350  # lines
LONGEST_FUNCTION = 40  # lines, without signature and docstring

# Which way imports run: to a smaller number only. What is not listed (cli, ctl and what they are made of) is
# on top. Rooms of one level do not know each other.
LEVELS = {
    "process": 4,
    "session": 3,
    "status": 3,
    "traffic": 2,
    "access": 2,
    "host": 1,
    "wire": 0,
    "config": 0,
}
TOP = 5

IMPURE = {"asyncio", "logging", "os", "select", "selectors", "socket", "subprocess", "threading", "time"}
NETWORK = {"asyncio", "ftplib", "http", "select", "selectors", "smtplib", "socket", "ssl", "urllib"}
EVENT_LOOPS = {"anyio", "asyncio", "eventlet", "gevent", "selectors", "tornado", "trio", "twisted", "uvloop"}
# May look at it, and hand on what they saw.
STARTERS = {
    "cli.py",
    "ctl.py",
    "preflight.py",
    "process/supervisor.py",
    "verbs/explain.py",
    "verbs/top/__init__.py",
}
# The parent, one role a file; what its children are made of does not know it, nor each other.
PARENT = {
    "process/supervisor.py", "process/succession.py", "process/beginning.py", "process/generation.py",
    "process/reload.py", "process/birth.py", "process/children.py", "process/helpers.py", "process/ledger.py",
    "process/handover.py", "process/upgrade.py", "process/inherit.py",
    "process/admin_socket.py", "process/limits.py", "process/table.py",
}  # fmt: skip
# Parts of config.model, which nobody else has to know.
MODEL = {"addresses", "admin", "commands", "logins", "rules"}
# Who tells or compares dates; all others measure, and that on a clock that nobody sets.
DATES = {
    "host/log/log.py",
    "host/scoreboard/identity.py",
    "process/ledger.py",
    "access/bans.py",
    "access/lockout.py",
    "access/throttle.py",
    "verbs/bans.py",
    "access/rules.py",
}
DEPENDENCIES = {"argon2", "forksocks", "setproctitle"}

# What only Linux has, as `elsewhere` hides it, and what has a number there instead of a name.
LINUX_ONLY = {module.__name__: re.compile(names) for module, names in elsewhere.MISSING.items()}
LINUX_CALLS = elsewhere.NO_CALLS
LINUX_NUMBERS = re.compile("PR_(SET|GET)_.*|SO_(BINDTOIFINDEX|PEERGROUPS)|F_SEAL_.*")
# The one module that names any of it: others say `linux.NAME`.
LINUX = "host/linux.py"
# And the words of a filter that only Linux has, which calls none of what it lets others call.
LINUX_WORDS = "host/sandbox/calls.py"
# Who looks into /proc, and goes on without it.
PROC_PLACES = {
    "config/files.py", "host/kernel.py", "host/log/sinks.py", "host/machine.py",
    "host/sandbox/confinement.py",
}  # fmt: skip

# Put together here, so that this file does not object to itself.
_LATER = ["TO" + "DO", "FIX" + "ME", "X" + "XX", "NotImplemented" + "Error"]
UNFINISHED = re.compile(rf"\b({'|'.join(_LATER)})\b")
NOT_RUN = {"skip", "skipif", "xfail", "importorskip", "SkipTest", "skipTest", "skipIf", "skipUnless"}


@dataclass(frozen=True)
class Module:
    """A source file; `path` is relative to forksocks/ or tests/."""

    path: str
    text: str

    @property
    def room(self) -> str:
        return self.path.split("/")[0].removesuffix(".py")

    @functools.cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text, self.path)))

    def imports(self) -> Iterator[str]:
        """Dotted names; `from a import b` counts as `a` and as `a.b`, for b may be a module."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{self.path}: relative import"
                assert node.module
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def packages(self) -> set[str]:
        return {name.split(".")[0] for name in self.imports()}

    def words(self) -> Iterator[str]:
        """Identifiers, and strings that could be one (`getattr(socket, "TCP_INFO")`)."""
        for node in self.nodes:
            if isinstance(node, ast.Name):
                yield node.id
            elif isinstance(node, ast.Attribute):
                yield node.attr
            elif isinstance(node, ast.alias):
                yield node.name.split(".")[-1]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


Rule = Callable[[Module], Iterator[str]]


def level(room: str) -> int:
    return LEVELS.get(room, TOP)


def imports_run_down(module: Module) -> Iterator[str]:
    for name in sorted({name for name in module.imports() if name.startswith("forksocks.")}):
        room = name.split(".")[1]
        if room.startswith("__"):  # forksocks.__version__
            continue
        other = level(room)
        if other > level(module.room) or (other == level(module.room) != TOP and room != module.room):
            yield f"{module.room} imports {name}"


def only_the_parent_knows_its_siblings(module: Module) -> Iterator[str]:
    if module.room == "process" and module.path not in PARENT:
        yield from (f"imports {name}" for name in module.imports() if name.startswith("forksocks.process"))


def wire_is_pure(module: Module) -> Iterator[str]:
    if module.room == "wire":
        yield from (f"imports {name}" for name in module.packages() & IMPURE)


def config_knows_no_network(module: Module) -> Iterator[str]:
    if module.room == "config":
        yield from (f"imports {name}" for name in module.packages() & NETWORK)


def settings_are_found_in_the_model(module: Module) -> Iterator[str]:
    if module.room != "config":
        parts = {f"forksocks.config.{part}" for part in MODEL}
        yield from (f"imports {name}" for name in parts.intersection(module.imports()))


def no_event_loop(module: Module) -> Iterator[str]:
    yield from (f"imports {name}" for name in module.packages() & EVENT_LOOPS)


def no_other_dependency(module: Module) -> Iterator[str]:
    yield from (f"imports {name}" for name in module.packages() - sys.stdlib_module_names - DEPENDENCIES)


def the_environment_is_not_read(module: Module) -> Iterator[str]:
    if module.path not in STARTERS:
        yield from (f"uses os.{word}" for word in environment(module))


def environment(module: Module) -> Iterator[str]:
    for node in module.nodes:
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv" as word):
                yield word
            case ast.ImportFrom(module="os", names=names):
                yield from (alias.name for alias in names if alias.name in {"environ", "environb", "getenv"})


def one_module_names_what_only_linux_has(module: Module) -> Iterator[str]:
    if module.path == LINUX:
        return
    for node in module.nodes:
        match node:
            case ast.Attribute(value=ast.Name(id="linux")):
                continue
            case ast.Attribute(value=ast.Name(id="sys"), attr="platform"):
                yield "asks for the platform"
            case ast.Attribute(value=value, attr=word) if is_of_linux(ast.unparse(value), word):
                yield f"uses {word}"
            case ast.ImportFrom(module=str(origin), names=names):
                yield from (f"imports {each.name}" for each in names if is_of_linux(origin, each.name))
            case ast.Constant(value=str(word)) if module.path != LINUX_WORDS and word.isupper():
                if any(is_of_linux(origin, word) for origin in LINUX_ONLY):
                    yield f"asks for {word}"
            case ast.Call(
                func=ast.Name(id="getattr" | "hasattr"), args=[value, ast.Constant(value=str(word)), *_]
            ):
                if is_of_linux(ast.unparse(value), word):
                    yield f"asks for {word}"


def is_of_linux(origin: str, word: str) -> bool:
    """Whether only Linux has this name of a module, or of anything else (the C library, a header)."""
    if origin in LINUX_ONLY:
        return bool(LINUX_ONLY[origin].fullmatch(word))
    return word in LINUX_CALLS or bool(LINUX_NUMBERS.fullmatch(word))


def proc_has_its_places(module: Module) -> Iterator[str]:
    if module.path not in PROC_PLACES:
        yield from (f"looks into {word}" for word in module.words() if re.match(r"/proc(/|$)", word))


def durations_are_monotonic(module: Module) -> Iterator[str]:
    """Whoever measures by the date breaks when somebody sets it."""
    if module.path not in DATES:
        for node in module.nodes:
            match node:
                case ast.Attribute(value=ast.Name(id="time"), attr="time" | "time_ns" as word):
                    yield f"uses time.{word}"
                case ast.Attribute(value=ast.Name(id="datetime"), attr="now" | "utcnow" | "today" as word):
                    yield f"uses datetime.{word}"
                case ast.ImportFrom(module="time", names=names):
                    yield from (f"imports {each.name}" for each in names if each.name in {"time", "time_ns"})


def modules_are_short(module: Module) -> Iterator[str]:
    if (lines := len(module.text.splitlines())) > LONGEST_MODULE:
        yield f"has {lines} lines"


def functions_are_short(module: Module) -> Iterator[str]:
    for node in module.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > LONGEST_FUNCTION:
                yield f"{node.name} has {lines} lines"


def nothing_is_unfinished(module: Module) -> Iterator[str]:
    yield from (f"says {match[0]}" for match in UNFINISHED.finditer(module.text))


def every_test_runs(module: Module) -> Iterator[str]:
    for node in module.nodes:
        word = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
        if word in NOT_RUN or (isinstance(node, ast.alias) and node.name in NOT_RUN):
            yield f"uses {word or 'an imported skip'}"


# Each rule with modules that it must object to.
SOURCE_RULES: dict[Rule, list[tuple[str, str]]] = {
    imports_run_down: [
        ("host/log/log.py", "from forksocks.session.life import Session"),
        ("host/log/log.py", "from forksocks import session"),
        ("traffic/dial.py", "import forksocks.access.guard"),
        ("access/guard.py", "def f():\n    from forksocks.traffic import dial"),
        ("wire/reader.py", "from forksocks.config.model import Level"),
        ("config/load.py", "from forksocks.host import log"),
        ("process/worker.py", "from forksocks.cli import main"),
    ],
    only_the_parent_knows_its_siblings: [
        ("process/worker.py", "from forksocks.process import supervisor"),
        ("process/worker.py", "import forksocks.process.lookup"),
    ],
    wire_is_pure: [(f"wire/x{number}.py", f"import {name}") for number, name in enumerate(sorted(IMPURE))]
    + [("wire/socks5.py", "from os.path import join")],
    config_knows_no_network: [
        ("config/load.py", "import urllib.request"),
        ("config/load.py", "from socket import AF_INET"),
    ],
    settings_are_found_in_the_model: [
        ("access/rules.py", "from forksocks.config.rules import Action"),
        ("access/rules.py", "from forksocks.config import rules"),
    ],
    no_event_loop: [
        ("session/life.py", "import asyncio"),
        ("cli.py", "def f():\n    from asyncio import run"),
    ],
    no_other_dependency: [("host/log/log.py", "import structlog"), ("ctl.py", "from click import command")],
    the_environment_is_not_read: [
        ("session/life.py", "import os\nos.environ['HOME']"),
        ("host/log/log.py", "from os import getenv"),
    ],
    one_module_names_what_only_linux_has: [
        ("session/life.py", "import os\nos.splice(0, 1, 2)"),
        ("traffic/relay.py", "import fcntl\nfcntl.fcntl(0, fcntl.F_SETPIPE_SZ, 1)"),
        ("traffic/dial.py", "import socket\ngetattr(socket, 'IP_BIND_ADDRESS_NO_PORT')"),
        ("traffic/dial.py", "from socket import TCP_INFO"),
        ("process/worker.py", "import ctypes\nctypes.CDLL(None).prctl(1)"),
        ("host/shared.py", "import os\nos.memfd_create('x')"),
        ("host/kernel.py", "import sys\nif sys.platform == 'linux': ..."),
        ("host/routes.py", "import socket\nhasattr(socket, 'AF_NETLINK')"),
        ("host/machine.py", "import os\nhasattr(os, 'splice')"),
        ("host/kernel.py", "_options((6, 'TCP_DEFER_ACCEPT', 1))"),
        ("host/sandbox/calls.py", "import os\nos.O_TMPFILE"),
    ],
    proc_has_its_places: [
        ("process/worker.py", "open('/proc/self/stat')"),
        ("process/worker.py", "def f(pid):\n    open(f'/proc/{pid}/stat')"),
    ],
    durations_are_monotonic: [
        ("host/pool.py", "import time\ntime.time()"),
        ("host/pool.py", "from time import monotonic, time"),
        ("host/pool.py", "from datetime import datetime\ndatetime.now()"),
    ],
    modules_are_short: [("session/life.py", "\n" * (LONGEST_MODULE + 1))],
    functions_are_short: [
        ("session/life.py", "def f():\n" + "    pass\n" * (LONGEST_FUNCTION + 1)),
        (
            "session/life.py",
            "class A:\n    def f(self):\n        '''Doc.'''\n" + "        pass\n" * (LONGEST_FUNCTION + 1),
        ),
    ],
    nothing_is_unfinished: [
        ("session/life.py", "# TO" + "DO: later"),
        ("session/life.py", "raise NotImplemented" + "Error"),
    ],
}
TEST_RULES: dict[Rule, list[tuple[str, str]]] = {
    nothing_is_unfinished: SOURCE_RULES[nothing_is_unfinished],
    settings_are_found_in_the_model: SOURCE_RULES[settings_are_found_in_the_model],
    every_test_runs: [
        ("test_x.py", "import pytest\n@pytest.mark.skip\ndef test(): ..."),
        ("test_x.py", "import pytest\n@pytest.mark.xfail(reason='x')\ndef test(): ..."),
        ("test_x.py", "import pytest\npytest.importorskip('x')"),
        ("test_x.py", "from unittest import SkipTest\nraise SkipTest"),
    ],
}
RULES = SOURCE_RULES | TEST_RULES


@functools.cache
def modules(folder: str) -> list[Module]:
    base = ROOT / folder
    found = [
        Module(path.relative_to(base).as_posix(), path.read_text()) for path in sorted(base.rglob("*.py"))
    ]
    assert found
    return found


def objections(rule: Rule, folder: str) -> list[str]:
    return [f"{folder}/{module.path}: {what}" for module in modules(folder) for what in rule(module)]


@pytest.mark.parametrize("rule", SOURCE_RULES, ids=lambda rule: rule.__name__)
def test_the_sources_keep(rule: Rule) -> None:
    assert objections(rule, "forksocks") == []


@pytest.mark.parametrize("rule", TEST_RULES, ids=lambda rule: rule.__name__)
def test_the_tests_keep(rule: Rule) -> None:
    assert objections(rule, "tests") == []


@pytest.mark.parametrize(
    ("rule", "module"),
    [(rule, Module(*bad)) for rule, snippets in RULES.items() for bad in snippets],
    ids=lambda value: value.path if isinstance(value, Module) else value.__name__,
)
def test_a_rule_sees_what_it_is_for(rule: Rule, module: Module) -> None:
    assert list(rule(module))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("session/life.py", "from forksocks.traffic.relay import Relay\nfrom forksocks.access import guard"),
        (
            "process/supervisor.py",
            "from forksocks.process import worker, lookup\nfrom forksocks import __version__",
        ),
        ("cli.py", "from forksocks import banner\nfrom forksocks.config.load import load"),
        ("host/linux.py", "import os\nos.splice(0, 1, 2)"),
        ("traffic/splice.py", "from forksocks.host import linux\nlinux.splice(0, 1, 2)"),
        ("wire/reader.py", "import enum\nfrom forksocks.wire.messages import Reply"),
        (
            "host/log/log.py",
            "def f(\n    a,\n    b,\n):\n    '''Doc.\n\n\n    '''\n" + "    pass\n" * LONGEST_FUNCTION,
        ),
    ],
)
def test_the_rules_allow_what_the_design_does(path: str, text: str) -> None:
    assert [what for rule in SOURCE_RULES for what in rule(Module(path, text))] == []
