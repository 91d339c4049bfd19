"""A real terminal, and what stands on it: tmux(1), with a server of its own."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.system.processes import LONG, eventually
from tests.system.server import ROOT, environment

_NUMBERS = count()


class Screen:
    """A program on a terminal of a size; when it has ended the screen says `status N` and stays.

    folder: where tmux has its socket; its path is short (unix(7): 108 bytes).
    """

    def __init__(self, folder: Path, command: Sequence[str], size: tuple[int, int] = (80, 24)) -> None:
        self._socket = folder / f"tmux{next(_NUMBERS)}"  # the last one's server may not have ended yet
        self._environment = environment()
        self._environment.pop("TMUX", None)
        columns, rows = size
        script = f"{shlex.join(command)}; echo status $?; exec cat"
        self._tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(ROOT), script)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(*self.lines(), sep="\n")
        self._tmux("kill-server")

    def lines(self, with_styles: bool = False) -> list[str]:
        """What stands there; with_styles: with the escapes that make it so."""
        return self._tmux("capture-pane", "-p", *(["-e"] if with_styles else ())).split("\n")[:-1]

    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines())

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: `Down`, `Escape`, `k`."""
        self._tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type a text."""
        self._tmux("send-keys", "-l", text)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def expect(self, *words: str) -> None:
        """Wait until all of these stand there."""
        assert eventually(lambda: all(word in self.text() for word in words)), (words, self.text())

    def expect_gone(self, word: str) -> None:
        """Wait until this stands there no more."""
        assert eventually(lambda: word not in self.text()), (word, self.text())

    def _tmux(self, *words: str) -> str:
        return subprocess.run(
            ["tmux", "-f", "/dev/null", "-S", str(self._socket), *words],
            env=self._environment, capture_output=True, text=True, check=True, timeout=LONG,
        ).stdout  # fmt: skip
