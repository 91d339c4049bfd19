"""Completions as bash, zsh and fish offer them: every option, verb and word that the parsers know."""

from __future__ import annotations

import argparse
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import pytest

from forksocks import ctl, options
from tests.system.processes import LONG
from tests.system.programs import home, run

MAKE = Path(__file__).parents[2] / "packaging" / "completions" / "make"
ZSH = """\
PS1= PS2=; setopt no_beep no_list_ambiguous; LISTMAX=10000; stty columns 200 rows 1000
fpath=({folder}/zsh $fpath); autoload -U compinit; compinit -u -D; print be''gin
"""

# Asks a shell for what may follow a line's beginning; it may stop when it has seen the words given.
Ask = Callable[[str, Collection[str]], set[str]]


def lines() -> Iterator[tuple[str, Sequence[str]]]:
    """Beginnings of command lines, and what may follow there."""
    yield "forksocks -", [word for word in names(options.parser()) if word.startswith("--")]
    yield from below("forksocksctl", ctl.parser())


def below(line: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, Sequence[str]]]:
    yield f"{line} --", [word for word in names(parser) if word.startswith("--")]
    for action in parser._actions:  # noqa: SLF001 - argparse lists them nowhere else
        if not action.option_strings and action.choices is not None:
            yield f"{line} ", list(action.choices)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for verb, each in action.choices.items():
                yield from below(f"{line} {verb}", each)


def names(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:  # noqa: SLF001
        yield from action.option_strings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("completions")
    subprocess.run([sys.executable, MAKE, made], check=True)
    return made


@pytest.fixture
def asked(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Ask:
    """What a shell offers at the end of a line."""
    environment = home(tmp_path / "home")

    def bash(line: str, _: Collection[str]) -> set[str]:
        name, *words = line.split(" ")
        script = (
            f'. "$0/bash/{name}"; shift 0; COMP_WORDS=({name} "$@"); COMP_CWORD=$#; '
            f'complete -p {name} >/dev/null; _{name}; printf "%s\\n" "${{COMPREPLY[@]}}"'
        )
        return set(run("bash", "-c", script, str(folder), *words, extra=environment).out.decode().split())

    def fish(line: str, _: Collection[str]) -> set[str]:
        name = line.partition(" ")[0]
        script = f"source {folder}/fish/{name}.fish; complete -C '{line}'"
        found = run("fish", "--no-config", "-c", script, extra=environment).out.decode().splitlines()
        return {each.partition("\t")[0] for each in found}

    def zsh(line: str, wanted: Collection[str]) -> set[str]:
        return set(typed(ZSH.format(folder=folder), line, wanted, environment["HOME"]).split())

    return {"bash": bash, "fish": fish, "zsh": zsh}[request.param]


def typed(setup: str, line: str, wanted: Collection[str], place: str) -> str:
    """What zsh shows on a terminal after TAB, where it lists nothing while more has been typed."""
    master, terminal = pty.openpty()
    environment = {"TERM": "dumb", "PATH": os.environ["PATH"], "HOME": place}
    with subprocess.Popen(
        ["zsh", "-f", "-i"], stdin=terminal, stdout=terminal, stderr=terminal, cwd=place, env=environment,
        start_new_session=True,
    ) as shell:  # fmt: skip
        os.close(terminal)
        try:
            os.write(master, setup.encode())
            until(master, ["begin"])
            os.write(master, f"{line}\t".encode())
            return until(master, wanted)
        finally:
            shell.kill()
            os.close(master)


def until(master: int, words: Collection[str]) -> str:
    """Read until these words stand there by themselves."""
    shown = b""
    by = time.monotonic() + LONG
    while not {word.encode() for word in words} <= set(shown.split()):
        ready, _, _ = select.select([master], [], [], max(0.0, by - time.monotonic()))
        assert ready, (words, shown)
        shown += os.read(master, 65536)
    return shown.decode()


@pytest.mark.parametrize("asked", ["bash", "fish", "zsh"], indirect=True)
def test_everything_is_offered(asked: Ask) -> None:
    for line, wanted in lines():
        assert set(wanted) <= asked(line, wanted), line


@pytest.mark.parametrize("asked", ["bash", "fish", "zsh"], indirect=True)
def test_values_are_offered(asked: Ask, tmp_path: Path) -> None:
    modes = {"auto", "require", "off"}
    assert modes <= asked("forksocks --sandbox ", modes)
    (tmp_path / "home" / "users").touch()
    (tmp_path / "home" / "use").mkdir()
    found = asked(f"forksocksctl passwd {tmp_path}/home/us", ["users"])
    assert "users" in {Path(each).name for each in found}


@pytest.mark.parametrize("asked", ["bash", "fish"], indirect=True)
def test_what_belongs_elsewhere_is_not_offered(asked: Ask) -> None:
    assert not asked("forksocksctl status ", []) & {"listeners", "reload", "--wait"}
