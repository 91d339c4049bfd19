"""Which layers of the sandbox hold, which are missing and why; written so that it fits a word's text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Layer(NamedTuple):
    """One layer: whether it holds, and how much of it or why not."""

    name: str
    holds: bool
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.detail})" if self.detail else self.name


@dataclass(frozen=True, slots=True)
class Report:
    """The layers of one process, in the order in which they were put on."""

    layers: tuple[Layer, ...] = ()

    @property
    def held(self) -> str:
        """The layers that hold: `limits, ids (nobody), chroot`."""
        return ", ".join(str(layer) for layer in self.layers if layer.holds)

    @property
    def missing(self) -> str:
        """The layers that do not, each with its reason; "" when all hold."""
        return ", ".join(str(layer) for layer in self.layers if not layer.holds)

    def written(self) -> str:
        """One line that `read` reads."""
        return "\t".join(f"{'+' if holds else '-'}{name}={detail}" for name, holds, detail in self.layers)

    @staticmethod
    def read(line: str) -> Report:
        """Make a report of what `written` wrote."""
        words = [(*word[1:].partition("="), word[0] == "+") for word in line.split("\t") if word]
        return Report(tuple(Layer(name, holds, detail) for name, _, detail, holds in words))


def summary(reports: Iterable[Report]) -> tuple[str, str]:
    """Of several processes: the layers that hold in each that has them, and all that are missing anywhere."""
    layers = dict.fromkeys(layer for report in reports for layer in report.layers)
    missing = {layer.name: layer for layer in layers if not layer.holds}
    held = {layer.name: layer for layer in layers if layer.holds and layer.name not in missing}
    return ", ".join(map(str, held.values())), ", ".join(map(str, missing.values()))
