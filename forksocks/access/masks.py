"""Which of many rules does one fact fit? Answered with a number: bit i is set if rule i does.

One table a kind of fact (a client's address, a user, a port ...). Each look-up costs a bisect or a few
dictionary look-ups, whatever the number of rules and of entries; a rule list is then the AND of its tables'
answers, and its first match is the lowest bit that is left.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable

from forksocks.access.networks import category, edges, merge, unmapped
from forksocks.config.model import Address, Network

Mask = int


def first(mask: Mask) -> int:
    """The number of the lowest rule in `mask`, which must not be 0."""
    return (mask & -mask).bit_length() - 1


def before(mask: Mask) -> Mask:
    """Every rule before the lowest in `mask`; all there could be if it is 0."""
    return (mask & -mask) - 1


class Words:
    """Rules by a word that is one of few: a user, a listener, a command."""

    __slots__ = ("_any", "_by_word")

    def __init__(self, conditions: Iterable[Iterable[Hashable]]) -> None:
        self._any = 0
        named: dict[Hashable, Mask] = {}
        for number, words in enumerate(conditions):
            wanted = set(words)
            for word in wanted:
                named[word] = named.get(word, 0) | 1 << number
            if not wanted:
                self._any |= 1 << number
        self._by_word = {word: mask | self._any for word, mask in named.items()}

    def fitting(self, word: Hashable) -> Mask:
        """The rules that name `word`, and those that name none."""
        return self._by_word.get(word, self._any)

    def fitting_any(self, words: Iterable[Hashable]) -> Mask:
        """The rules that name one of `words`, and those that name none."""
        mask = self._any
        for word in words:
            mask |= self._by_word.get(word, 0)
        return mask


class Spans:
    """Rules by where a number lies: disjoint spans, each with the rules that hold there."""

    __slots__ = ("_masks", "_starts")

    def __init__(self, spans: Iterable[tuple[int, int, int]]) -> None:
        """Take (first, one after the last, rule); spans of one rule must not overlap."""
        toggles: dict[int, Mask] = {}
        for start, end, number in spans:
            toggles[start] = toggles.get(start, 0) ^ 1 << number
            toggles[end] = toggles.get(end, 0) ^ 1 << number
        self._starts = sorted(toggles)
        self._masks = [0]
        known: dict[Mask, Mask] = {}  # the same few masks again and again: keep each once
        for start in self._starts:
            mask = self._masks[-1] ^ toggles[start]
            self._masks.append(known.setdefault(mask, mask))

    def fitting(self, value: int) -> Mask:
        """The rules whose spans hold `value`."""
        return self._masks[bisect_right(self._starts, value)]


class Ports:
    """Rules by a port."""

    __slots__ = ("_any", "_spans")

    def __init__(self, conditions: Iterable[Iterable[tuple[int, int]]]) -> None:
        self._any = 0
        spans: list[tuple[int, int, int]] = []
        for number, ranges in enumerate(conditions):
            merged = merge((start, end + 1) for start, end in ranges)
            spans += ((start, end, number) for start, end in merged)
            if not merged:
                self._any |= 1 << number
        self._spans = Spans(spans)

    def fitting(self, port: int) -> Mask:
        """The rules that list `port`, and those that list none."""
        return self._any | self._spans.fitting(port)


class Networks:
    """Rules by an address: networks and the sets of `access.networks`, by name."""

    __slots__ = ("_any", "_by_set", "_v4", "_v6")

    def __init__(self, conditions: Iterable[Iterable[Network | str]], any_set: str) -> None:
        self._any = 0
        self._by_set: dict[str | None, Mask] = {}
        spans: dict[int, list[tuple[int, int, int]]] = {4: [], 6: []}
        for number, selectors in enumerate(conditions):
            ranges: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
            for selector in selectors:
                if selector == any_set:
                    self._any |= 1 << number
                elif isinstance(selector, str):
                    self._by_set[selector] = self._by_set.get(selector, 0) | 1 << number
                else:
                    network = unmapped(selector)
                    ranges[network.version].append(edges(network))
            for version, found in ranges.items():
                spans[version] += ((start, end, number) for start, end in merge(found))
        self._v4 = Spans(spans[4])
        self._v6 = Spans(spans[6])

    def fitting(self, address: Address) -> Mask:
        """The rules that list a network with this (normalised) address in it."""
        return self.listed(address) | self._by_set.get(category(address), 0)

    def listed(self, address: Address) -> Mask:
        """The same without the sets: only networks that were written as such, and "every address"."""
        return (self._v4 if address.version == 4 else self._v6).fitting(int(address)) | self._any


class Names:
    """Rules by a host's name: the name itself, or with a leading dot whatever is below it."""

    __slots__ = ("_below", "_exact")

    def __init__(self, conditions: Iterable[Iterable[str]]) -> None:
        self._exact: dict[str, Mask] = {}
        self._below: dict[str, Mask] = {}
        for number, patterns in enumerate(conditions):
            for pattern in patterns:
                table = self._below if pattern.startswith(".") else self._exact
                table[pattern] = table.get(pattern, 0) | 1 << number

    def fitting(self, name: str) -> Mask:
        """The rules that list this (lowered) name or one above it."""
        mask = self._exact.get(name, 0)
        at = name.find(".")
        while at >= 0:
            mask |= self._below.get(name[at:], 0)
            at = name.find(".", at + 1)
        return mask
